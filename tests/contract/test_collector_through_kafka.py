"""An SDK, a real Collector with our gateway configuration, Kafka, `sluiceway process`: every row arrives, rolled up."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from schemas.kafka_settings import KafkaSettings
from schemas.settings import MIB, StoreSettings
from schemas.signals import Signal
from sluiceway.collector.configuration import gateway
from sluiceway.config import PREFIX
from sluiceway.embedded.store import EmbeddedStore
from tests.contract.test_collector_sdk import OURS, rows_of_the_exporter
from tests.faults.pipeline import wait_until
from tests.kafka_broker import create_topic, fresh_name
from tests.otel_collector import require_collector
from tests.rows_in_store import Database, database
from tests.sdk_exports import export_orders
from tests.testbed.collector import Collector
from tests.testbed.collector_configs import clickhouse_out
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import Part, free_ports

ROOT = Path(__file__).resolve().parents[2]


def _environment(folder: Path, kafka: KafkaSettings, store_port: int, pages_port: int) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    return kept | {
        "PYTHONPATH": str(ROOT),
        "SLUICEWAY_DATA_DIR": str(folder / "data"),
        "SLUICEWAY_STORE__HTTP_PORT": str(store_port),
        "SLUICEWAY_VIEWER__PORT": str(pages_port),
        "SLUICEWAY_BATCH__MAX_AGE_S": "0.1",
        "SLUICEWAY_TELEMETRY__ENABLED": "false",
        "SLUICEWAY_KAFKA__BOOTSTRAP_SERVERS": ",".join(kafka.bootstrap_servers),
        "SLUICEWAY_KAFKA__GROUP": kafka.group,
        "SLUICEWAY_KAFKA__TRACES_TOPIC": kafka.traces_topic,
        "SLUICEWAY_KAFKA__METRICS_TOPIC": kafka.metrics_topic,
        "SLUICEWAY_KAFKA__LOGS_TOPIC": kafka.logs_topic,
        "SLUICEWAY_KAFKA__REPLICATION_FACTOR": "1",
        "SLUICEWAY_KAFKA__MIN_INSYNC_REPLICAS": "1",
    }


@contextmanager
def _processing(folder: Path, environment: dict[str, str]) -> Iterator[Part]:
    part = Part("process", folder)
    part.spawn([sys.executable, "-m", "sluiceway", "process"], environment)
    try:
        yield part
    except BaseException:
        sys.stderr.write(part.tail(8000))
        raise
    finally:
        part.kill()


def _ready(pages_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{pages_port}/readyz", timeout=10) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_what_an_sdk_exports_through_a_gateway_and_kafka_is_stored_and_rolled_up(kafka: Broker, tmp_path: Path) -> None:
    require_collector()
    store_port, pages_port, theirs_http, theirs_native, otlp_port, metrics_port, http_port = free_ports(7)
    topics = {signal: create_topic(kafka.bootstrap, fresh_name(signal.value), partitions=2) for signal in Signal}
    settings = KafkaSettings(
        bootstrap_servers=(kafka.bootstrap,), group=fresh_name("process"), traces_topic=topics[Signal.TRACES],
        metrics_topic=topics[Signal.METRICS], logs_topic=topics[Signal.LOGS], replication_factor=1,
        min_insync_replicas=1, max_message_bytes=MIB // 2,
    )  # fmt: skip
    environment = _environment(tmp_path, settings, store_port, pages_port)
    store_settings = StoreSettings(http_port=theirs_http, native_port=theirs_native)
    with (
        _processing(tmp_path / "process", environment),
        EmbeddedStore(tmp_path / "store", store_settings) as store,
        database(store, "theirs") as theirs,
    ):
        # The configuration that we print, and the Collector's own exporter beside it for comparison.
        printed = yaml.safe_load(gateway(settings, max_request_bytes=32 * MIB, storage=str(tmp_path / "queue")))
        printed["exporters"] |= clickhouse_out(
            theirs_native, store.writer_user, store.writer_password, database="theirs"
        )
        for path in printed["service"]["pipelines"].values():
            path["exporters"].append("clickhouse")
        ports = {
            "OTLP_GRPC_LISTEN": f"127.0.0.1:{otlp_port}", "OTLP_HTTP_LISTEN": f"127.0.0.1:{http_port}",
            "COLLECTOR_METRICS_PORT": str(metrics_port),
        }  # fmt: skip
        with Collector(tmp_path / "collector", printed, ports):
            exported = export_orders(f"127.0.0.1:{otlp_port}")
            wait_until(lambda: _ready(pages_port), "the processor")
            ours = Database.of_reader(f"http://127.0.0.1:{store_port}")
            for table, count in exported.rows.items():
                wait_until(lambda t=table, n=count: ours.count(t) >= n, f"rows of {table}")

            for table, count in exported.rows.items():
                rows = rows_of_the_exporter(ours, table)
                assert rows.total() == ours.count(table) == count, table
                assert rows == rows_of_the_exporter(theirs, table), table
                assert {row["TenantId"] for row in ours.rows(table)} == {""}, table
        for rollup in (
            f"SELECT sum(Calls) AS n, sum(Errors) AS errors, sum(DurationSum) AS ns FROM {{db}}.spans_1m WHERE {OURS}",
            f"SELECT sum(Records) AS n FROM {{db}}.logs_1m WHERE {OURS}",
        ):
            assert ours.ask(rollup) == theirs.ask(rollup)
        assert ours.ask("SELECT sum(Calls) AS n FROM {db}.spans_1m") == [{"n": exported.rows["otel_traces"]}]
        ours.client.close()

        audit = subprocess.run(
            [sys.executable, "-m", "sluiceway", "audit", "--timeout", "60"],
            env=environment, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=200,
        )  # fmt: skip
        assert audit.returncode == 0, audit.stdout + audit.stderr
