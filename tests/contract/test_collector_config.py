"""The configurations that we print: a real Collector starts with them, and loses nothing while a broker is away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from kafka import KafkaConsumer, TopicPartition

from ingest.wire_schema import REQUESTS
from schemas.errors import ConfigurationError
from schemas.kafka_settings import KafkaSettings
from schemas.settings import MIB
from schemas.signals import Signal
from sluiceway.collector.configuration import agent, gateway
from tests.faults.pipeline import wait_until
from tests.golden import assert_golden
from tests.kafka_broker import create_topic, require_broker
from tests.memory_log import MemoryLog
from tests.otel_collector import require_collector
from tests.otlp_export import Exporting
from tests.otlp_requests import NOW_NS
from tests.receivers_under_test import serving
from tests.testbed.collector import Collector, validate
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import free_ports

PLAIN = KafkaSettings(bootstrap_servers=("127.0.0.1:9092",))
PROTECTED = KafkaSettings(
    bootstrap_servers=("kafka-0.example:9093", "kafka-1.example:9093"), compression="zstd", partition_by="trace",
    security_protocol="SASL_SSL", ssl_cafile=Path("/etc/kafka/ca.pem"), sasl_mechanism="SCRAM-SHA-512",
    sasl_username="team$a", sasl_password_file=Path("/run/secrets/kafka"),
)  # fmt: skip
SIZE = 32 * MIB
TIMEOUT_S = 200
RENDERED = {
    "collector_agent.yaml": agent("ingest.example:4317", max_request_bytes=SIZE, tenant="shop"),
    "collector_gateway.yaml": gateway(PLAIN, max_request_bytes=SIZE),
    "collector_gateway_protected.yaml": gateway(
        PROTECTED, max_request_bytes=SIZE, tenant="shop", storage="/data/queue"
    ),
}


@pytest.mark.parametrize("name", RENDERED)
def test_the_text_is_the_golden_one(pytestconfig: pytest.Config, name: str) -> None:
    assert_golden(pytestconfig, name, RENDERED[name])


@pytest.mark.parametrize("name", RENDERED)
def test_a_real_collector_would_start_with_it(tmp_path: Path, name: str) -> None:
    require_collector()
    file = tmp_path / name
    # The folder and the certificate are those of the machine that it is for.
    here = {"/var/lib/otelcol/sluiceway": str(tmp_path / "queue"), "/data/queue": str(tmp_path / "queue")}
    text = RENDERED[name].replace("/etc/kafka/ca.pem", str(file))
    for there, instead in here.items():
        text = text.replace(there, instead)
    file.write_text(text)

    validate(file, {"KAFKA_SASL_PASSWORD": "secret"})


@pytest.mark.parametrize("name", RENDERED)
def test_no_default_that_drops_is_left(name: str) -> None:
    (exporter,) = yaml.safe_load(RENDERED[name])["exporters"].values()

    assert exporter["sending_queue"]["block_on_overflow"] is True
    assert exporter["sending_queue"]["storage"] == "file_storage"
    assert exporter["retry_on_failure"]["max_elapsed_time"] == 0
    assert exporter.get("producer", {"required_acks": -1})["required_acks"] == -1


def test_a_password_is_a_reference_and_a_dollar_is_none() -> None:
    sasl = yaml.safe_load(RENDERED["collector_gateway_protected.yaml"])["exporters"]["kafka"]["auth"]["sasl"]

    assert sasl == {"mechanism": "SCRAM-SHA-512", "username": "team$$a", "password": "${env:KAFKA_SASL_PASSWORD}"}


def test_the_command_prints_what_the_settings_say_and_no_secret(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("not-to-be-seen")
    settings = {
        "BOOTSTRAP_SERVERS": "kafka.example:9093", "TRACES_TOPIC": "spans", "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL_MECHANISM": "PLAIN", "SASL_USERNAME": "sluiceway", "SASL_PASSWORD_FILE": str(secret),
    }  # fmt: skip
    said = subprocess.run(
        [sys.executable, "-m", "sluiceway", "collector-config", "gateway", "--tenant", "shop"],
        env={**os.environ, **{f"SLUICEWAY_KAFKA__{name}": value for name, value in settings.items()}},
        check=True, capture_output=True, text=True, cwd=tmp_path,
    ).stdout  # fmt: skip

    kafka = yaml.safe_load(said)["exporters"]["kafka"]
    assert kafka["brokers"] == ["kafka.example:9093"]
    assert kafka["traces"] == {"topic": "spans", "encoding": "otlp_proto"}
    assert kafka["record_headers"] == [{"name": "tenant", "value": "shop"}]
    assert "not-to-be-seen" not in said
    assert str(secret) not in said


def test_what_cannot_be_written_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="bootstrap_servers: must name a broker"):
        gateway(KafkaSettings(), max_request_bytes=SIZE)
    with pytest.raises(ConfigurationError, match=r"tenant: must be .* got 'a: b'"):
        agent("a:1", max_request_bytes=SIZE, tenant="a: b")


def _ports(otlp: int, http: int, metrics: int) -> dict[str, str]:
    return {
        "OTLP_GRPC_LISTEN": f"127.0.0.1:{otlp}", "OTLP_HTTP_LISTEN": f"127.0.0.1:{http}",
        "COLLECTOR_METRICS_PORT": str(metrics),
    }  # fmt: skip


def _spans(first: int, count: int) -> bytes:
    request = REQUESTS[Signal.TRACES]()
    spans = request.resource_spans.add().scope_spans.add().spans
    for number in range(first, first + count):
        spans.add(name=str(number), start_time_unix_nano=NOW_NS, end_time_unix_nano=NOW_NS + 1)
    body: bytes = request.SerializeToString()
    return body


def _names_in(broker: Broker, topic: str, at_least: int) -> list[str]:
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    names: list[str] = []
    try:
        consumer.assign([TopicPartition(topic, 0)])
        deadline_s = time.monotonic() + TIMEOUT_S
        while len(set(names)) < at_least and time.monotonic() < deadline_s:
            for records in consumer.poll(timeout_ms=500).values():
                for record in records:
                    assert ("tenant", b"shop") in record.headers
                    request = REQUESTS[Signal.TRACES].FromString(record.value)
                    names += [
                        span.name for of in request.resource_spans for scope in of.scope_spans for span in scope.spans
                    ]
    finally:
        consumer.close()
    return names


def test_a_gateway_loses_nothing_while_the_broker_is_away_and_when_it_is_killed(tmp_path: Path) -> None:
    require_broker()
    require_collector()
    otlp_port, http_port, metrics_port = free_ports(3)
    with Broker(tmp_path / "kafka") as broker:
        topic = create_topic(broker.bootstrap, "spans", max_message_bytes=str(5 * MIB))
        target = KafkaSettings(bootstrap_servers=(broker.bootstrap,), traces_topic=topic)
        file = tmp_path / "gateway.yaml"
        file.write_text(gateway(target, max_request_bytes=SIZE, tenant="shop", storage=str(tmp_path / "queue")))
        with Collector(tmp_path / "collector", file, _ports(otlp_port, http_port, metrics_port)) as running:
            sent = 0

            def send(requests: int) -> None:
                nonlocal sent
                with Exporting(f"127.0.0.1:{otlp_port}") as exporting:
                    for _ in range(requests):
                        exporting.export(Signal.TRACES, _spans(sent, 100))
                        sent += 100

            send(20)
            assert len(set(_names_in(broker, topic, sent))) == sent
            broker.kill()
            send(20)
            # Acknowledged while no broker was there; now the Collector dies with them in its queue.
            running.kill()
            running.start()
            send(20)
            broker.start()

            names = _names_in(broker, topic, sent)
        assert set(names) == {str(number) for number in range(sent)}


def test_an_agent_keeps_what_it_accepted_until_our_ingest_is_there(tmp_path: Path) -> None:
    require_collector()
    otlp_port, http_port, metrics_port, ingest_port = free_ports(4)
    file = tmp_path / "agent.yaml"
    file.write_text(
        agent(f"127.0.0.1:{ingest_port}", max_request_bytes=SIZE, tenant="shop", storage=str(tmp_path / "queue"))
    )
    with Collector(tmp_path / "collector", file, _ports(otlp_port, http_port, metrics_port)) as running:
        with Exporting(f"127.0.0.1:{otlp_port}") as exporting:
            exporting.export(Signal.TRACES, _spans(0, 100))
        running.kill()
        running.start()
        log = MemoryLog()
        with serving(log, grpc_port=ingest_port):
            wait_until(lambda: log.entries, "the agent's request", TIMEOUT_S)

        (entry,) = log.entries
        assert (entry.tenant, entry.items) == ("shop", 100)


def test_the_documents_name_the_components_that_a_distribution_must_contain() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "collector.md").read_text()
    for rendered in RENDERED.values():
        parts = yaml.safe_load(rendered)
        for kind in ("receivers", "processors", "exporters", "extensions"):
            for name in parts[kind]:
                assert re.search(rf"`{name}`", text), f"{kind}: {name}"
