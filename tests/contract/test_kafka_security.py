"""TLS and SASL against a real broker that asks for both: our log and the gateway get in, a stranger does not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.kafka_log import KafkaLogWriter
from ingest.wire_schema import REQUESTS
from processors.kafka_log import KafkaLogReader
from schemas.errors import LogUnavailableError
from schemas.kafka_settings import KafkaSettings
from schemas.log import Entry
from schemas.settings import MIB
from schemas.signals import Signal, topic
from sluiceway.collector.configuration import gateway
from tests.kafka_broker import require_broker
from tests.kafka_security import PASSWORD, protected_broker, protected_settings
from tests.otel_collector import require_collector
from tests.otlp_export import Exporting
from tests.otlp_requests import items
from tests.settled_requests import settled
from tests.testbed.collector import Collector
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import free_ports

TIMEOUT_S = 200


@pytest.fixture(scope="module")
def protected(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Broker, KafkaSettings]]:
    require_broker()
    folder = tmp_path_factory.mktemp("protected")
    broker, ca_file = protected_broker(folder / "broker")
    password_file = folder / "password"
    password_file.write_text(PASSWORD + "\n")
    with broker:
        yield broker, protected_settings(broker, ca_file, password_file)


def _read(settings: KafkaSettings, at_least: int) -> list[bytes]:
    reader = KafkaLogReader(settings, topic(Signal.TRACES))
    values: list[bytes] = []
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        while len(values) < at_least and time.monotonic() < deadline_s:
            for partition in reader.partitions():
                records = reader.read(partition, len(values), max_records=1000, max_bytes=64 * MIB)
                values += [record.value for record in records]
            time.sleep(0.1)
    finally:
        reader.close()
    return values


def test_our_log_and_the_gateway_write_with_the_password(
    protected: tuple[Broker, KafkaSettings], tmp_path: Path
) -> None:
    require_collector()
    _, settings = protected
    ours, theirs = (settled(seed, Signal.TRACES) for seed in (3, 5))
    writer = KafkaLogWriter(settings, 4 * MIB)
    try:
        writer.append([Entry(topic(Signal.TRACES), ours.SerializeToString())])
    finally:
        writer.close()
    grpc_port, http_port, metrics_port = free_ports(3)
    file = tmp_path / "gateway.yaml"
    file.write_text(gateway(settings, max_request_bytes=32 * MIB, storage=str(tmp_path / "queue")))
    environment = {
        "OTLP_GRPC_LISTEN": f"127.0.0.1:{grpc_port}", "OTLP_HTTP_LISTEN": f"127.0.0.1:{http_port}",
        "COLLECTOR_METRICS_PORT": str(metrics_port), "KAFKA_SASL_PASSWORD": PASSWORD,
    }  # fmt: skip
    with (
        Collector(tmp_path / "collector", file, environment),
        Exporting(f"127.0.0.1:{grpc_port}") as exporting,
    ):
        exporting.export(Signal.TRACES, theirs.SerializeToString())

        values = _read(settings, 2)

    assert PASSWORD not in file.read_text()
    assert [_names(REQUESTS[Signal.TRACES].FromString(value)) for value in values] == [_names(ours), _names(theirs)]


def _names(request: object) -> list[str]:
    found = [span.name for span in items(request)]
    assert found
    return found


def test_a_wrong_password_is_pushed_back_and_may_be_tried_again(
    protected: tuple[Broker, KafkaSettings], tmp_path: Path
) -> None:
    wrong = tmp_path / "password"
    wrong.write_text("wrong")
    settings = protected[1].model_copy(update={"sasl_password_file": wrong, "delivery_timeout_s": 3.0})
    writer = KafkaLogWriter(settings, 4 * MIB)
    try:
        with pytest.raises(LogUnavailableError):
            writer.append([Entry(topic(Signal.TRACES), b"")])
    finally:
        writer.close()
