"""One wire format: what a Collector's Kafka exporter writes is an OTLP request, and its Kafka receiver reads ours."""

from __future__ import annotations

import re
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import grpc
from kafka import KafkaConsumer, TopicPartition

from ingest.kafka_log import KafkaLogWriter
from ingest.wire_schema import REQUESTS
from schemas.kafka_settings import KafkaSettings
from schemas.signals import Signal, signal_of
from tests.decoded import decoded_rows
from tests.faults.pipeline import wait_until
from tests.kafka_broker import create_topic, fresh_name
from tests.memory_log import MemoryLog
from tests.otel_collector import require_collector
from tests.otlp_requests import NOW_NS, items
from tests.receivers_under_test import serving
from tests.sdk_exports import export_orders
from tests.settled_requests import settled
from tests.strategies import record_of
from tests.testbed.collector import Collector
from tests.testbed.collector_configs import kafka_in, kafka_out, otlp_in, otlp_out, pipelines
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import free_ports

TIMEOUT_S = 200
MAX_RECORD_BYTES = 4 << 20
_NEGATIVE_ZERO = re.compile(r"(?<![\w.])-0\.0(?![\d])")


def _topics(broker: Broker) -> dict[Signal, str]:
    return {signal: create_topic(broker.bootstrap, fresh_name(signal.value)) for signal in Signal}


def _values(broker: Broker, topic: str) -> list[bytes]:
    """All that a topic of one partition holds now."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        partition = TopicPartition(topic, 0)
        consumer.assign([partition])
        (end,) = consumer.end_offsets([partition]).values()
        values: list[bytes] = []
        deadline_s = time.monotonic() + TIMEOUT_S
        while len(values) < end and time.monotonic() < deadline_s:
            for records in consumer.poll(timeout_ms=500).values():
                values += [record.value for record in records]
        return values
    finally:
        consumer.close()


def _named(topics: dict[Signal, str]) -> dict[str, str]:
    return {signal.value: topic for signal, topic in topics.items()}


def test_every_record_of_its_kafka_exporter_is_an_otlp_request(kafka: Broker, tmp_path: Path) -> None:
    require_collector()
    (otlp_port,) = free_ports(1)
    topics = _topics(kafka)
    with Collector(tmp_path, pipelines(otlp_in(otlp_port), kafka_out(kafka.bootstrap, _named(topics)))):
        exported = export_orders(f"127.0.0.1:{otlp_port}")

    counted: Counter[Signal] = Counter()
    for signal, topic in topics.items():
        for value in _values(kafka, topic):
            counted[signal] += sum(1 for _ in items(REQUESTS[signal].FromString(value)))
    points = sum(rows for table, rows in exported.rows.items() if table.startswith("otel_metrics"))
    assert counted == {
        Signal.TRACES: exported.rows["otel_traces"], Signal.LOGS: exported.rows["otel_logs"], Signal.METRICS: points,
    }  # fmt: skip


def test_its_kafka_receiver_reads_what_our_ingest_wrote(kafka: Broker, tmp_path: Path) -> None:
    require_collector()
    (ingest_port,) = free_ports(1)
    topics = _topics(kafka)
    sent = {signal: [_recent(settled(seed, signal)) for seed in range(20)] for signal in Signal}
    settings = KafkaSettings(
        bootstrap_servers=(kafka.bootstrap,), traces_topic=topics[Signal.TRACES], metrics_topic=topics[Signal.METRICS],
        logs_topic=topics[Signal.LOGS], replication_factor=1, min_insync_replicas=1,
    )  # fmt: skip
    writer = KafkaLogWriter(settings, MAX_RECORD_BYTES)
    try:
        with serving(writer) as ingest:
            for signal, requests in sent.items():
                # Two requests in one, as ingest itself coalesces small ones into a record.
                for at in range(0, len(requests), 2):
                    body = b"".join(request.SerializeToString() for request in requests[at : at + 2])
                    assert ingest.export(signal, body, x_tenant_id="shop").status == grpc.StatusCode.OK
    finally:
        writer.close()

    log = MemoryLog()
    with serving(log, grpc_port=ingest_port):
        group = kafka_in(kafka.bootstrap, _named(topics), group=fresh_name("collector"))
        with Collector(tmp_path, pipelines(group, otlp_out(f"127.0.0.1:{ingest_port}"))):
            for signal, requests in sent.items():
                wait_until(partial(_has, log, signal, _count(requests)), f"all of {signal}", TIMEOUT_S)

    for signal, requests in sent.items():
        assert _count(requests) > 20
        # Rows, not bytes: the Collector writes a message of its own, without fields that it does not know.
        received = [entry.value for entry in log.entries if signal_of(entry.topic) == signal]
        assert _rows(signal, received) == _rows(signal, [each.SerializeToString() for each in requests]), signal


def _recent(request: Any) -> Any:
    """With times that our ingest, which stands behind the Collector here, accepts."""
    for item in items(request):
        for field in item.DESCRIPTOR.fields:
            if field.name.endswith("time_unix_nano"):
                setattr(item, field.name, NOW_NS)
    return request


def _count(requests: list[Any]) -> int:
    return sum(1 for request in requests for _ in items(request))


def _has(log: MemoryLog, signal: Signal, count: int) -> bool:
    return sum(entry.items for entry in log.entries if signal_of(entry.topic) == signal) >= count


def _rows(signal: Signal, values: list[bytes]) -> Counter[tuple[str, str]]:
    records = [record_of(signal, value, at) for at, value in enumerate(values)]
    rows = ((table, repr(row)) for table, rows in decoded_rows(signal, records).items() for row in rows)
    # It leaves a zero out of a message, whatever its sign.
    return Counter((table, _NEGATIVE_ZERO.sub("0.0", row)) for table, row in rows)
