"""`kafka.partition_by: trace` on a real broker: a trace is on one partition, whoever of us or a Collector wrote it."""

from __future__ import annotations

import random
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import grpc
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import NewPartitions

from ingest.kafka_log import KafkaLogWriter
from ingest.partition import by_trace
from ingest.wire_schema import REQUESTS
from schemas.kafka_log import decode_record
from schemas.kafka_settings import KafkaSettings
from schemas.log import Entry, Record
from schemas.signals import Signal, topic
from tests.faults.pipeline import wait_until
from tests.kafka_broker import create_topic, fresh_name
from tests.otel_collector import require_collector
from tests.otlp_requests import NOW_NS, items
from tests.receivers_under_test import serving
from tests.sdk_exports import export_orders
from tests.testbed.collector import Collector
from tests.testbed.collector_configs import kafka_out, otlp_in, pipelines
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import free_ports

PARTITIONS = 5
MAX_RECORD_BYTES = 128 * 1024


def settings(broker: Broker, **chosen: Any) -> KafkaSettings:
    name = fresh_name("by-trace")
    return KafkaSettings(
        bootstrap_servers=(broker.bootstrap,), traces_topic=f"{name}.spans", logs_topic=f"{name}.logs",
        metrics_topic=f"{name}.metrics", partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1,
        partition_by="trace", **chosen,
    )  # fmt: skip


def records(broker: Broker, name: str) -> list[Record]:
    """All that a topic holds now, partition by partition."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    try:
        partitions = [TopicPartition(name, number) for number in consumer.partitions_for_topic(name) or ()]
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        found: list[Record] = []
        deadline_s = time.monotonic() + 60
        while len(found) < sum(ends.values()) and time.monotonic() < deadline_s:
            for where, polled in consumer.poll(timeout_ms=500).items():
                found += [
                    decode_record(name, where.partition, each.offset, each.value, each.timestamp, each.headers)
                    for each in polled
                ]
        return found
    finally:
        consumer.close()


def request(signal: Signal, rng: random.Random, ids: list[bytes], count: int) -> bytes:
    made = REQUESTS[signal]()
    for number in range(3):
        group = (made.resource_spans if signal is Signal.TRACES else made.resource_logs).add()
        group.resource.attributes.add(key="service.name").value.string_value = f"service-{number}"
        scope = (group.scope_spans if signal is Signal.TRACES else group.scope_logs).add()
        scope.scope.name = "tests"
        for _ in range(count // 3):
            item = (scope.spans if signal is Signal.TRACES else scope.log_records).add(
                trace_id=rng.choice(ids), span_id=rng.randbytes(8)
            )
            item.attributes.add(key="text").value.string_value = rng.randbytes(rng.randint(0, 200)).hex()
            setattr(item, "start_time_unix_nano" if signal is Signal.TRACES else "time_unix_nano", NOW_NS)
    encoded: bytes = made.SerializeToString()
    return encoded


def test_items_of_a_trace_from_many_requests_are_on_one_partition(kafka: Broker) -> None:
    rng, chosen = random.Random(5), settings(kafka)
    ids = [rng.randbytes(16) for _ in range(40)]
    writer = KafkaLogWriter(chosen, MAX_RECORD_BYTES)
    sent: dict[Signal, list[bytes]] = {Signal.TRACES: [], Signal.LOGS: []}
    try:
        with serving(writer) as ingest:
            for signal, bodies in sent.items():
                # Some are over one record, and are split by size before they are split by trace.
                for count in (3, 30, 300, 1800, 9):
                    bodies.append(request(signal, rng, ids, count))
                    assert ingest.export(signal, bodies[-1], x_tenant_id="shop").status == grpc.StatusCode.OK
    finally:
        writer.close()

    for signal, bodies in sent.items():
        found = records(kafka, chosen.topic(signal))
        partitions = defaultdict(set)
        by_id: dict[bytes, bytes] = {}
        for record in found:
            inside = list(items(REQUESTS[signal].FromString(record.value)))
            assert (len(inside), record.tenant) == (record.items, "shop")
            assert len(record.value) <= MAX_RECORD_BYTES
            for item in inside:
                partitions[item.trace_id].add(record.partition)
                assert item.span_id not in by_id
                by_id[item.span_id] = item.SerializeToString()
        whole = {
            item.span_id: item.SerializeToString()
            for body in bodies
            for item in items(REQUESTS[signal].FromString(body))
        }
        assert by_id == whole
        assert {len(where) for where in partitions.values()} == {1}
        assert {record.partition for record in found} == set(range(PARTITIONS))


def _known(admin: KafkaAdminClient, name: str) -> int:
    """Partitions whose leader the broker can name."""
    [found] = admin.describe_topics([name])
    return sum(each["error_code"] == 0 for each in found["partitions"])


def test_a_topic_that_has_grown_is_used_whole(kafka: Broker) -> None:
    rng, chosen = random.Random(6), settings(kafka)
    ids = [rng.randbytes(16) for _ in range(200)]
    first = KafkaLogWriter(chosen, MAX_RECORD_BYTES)
    first.open()
    first.close()
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    try:
        admin.create_partitions({chosen.traces_topic: NewPartitions(2 * PARTITIONS)})
        # The controller answers first; the broker that a producer asks hears of it afterwards.
        wait_until(lambda: _known(admin, chosen.traces_topic) == 2 * PARTITIONS, "the broker to know the new ones")
    finally:
        admin.close()
    writer = KafkaLogWriter(chosen, MAX_RECORD_BYTES)
    try:
        writer.append([Entry(topic(Signal.TRACES), request(Signal.TRACES, rng, ids, 300), items=300)])
    finally:
        writer.close()
    assert {record.partition for record in records(kafka, chosen.traces_topic)} == set(range(2 * PARTITIONS))


def test_a_collector_that_partitions_by_trace_id_agrees_with_us_on_every_partition(
    kafka: Broker, tmp_path: Path
) -> None:
    require_collector()
    (otlp_port,) = free_ports(1)
    names = {
        signal: create_topic(kafka.bootstrap, fresh_name(signal), 1 if signal is Signal.METRICS else PARTITIONS)
        for signal in Signal
    }
    exporter = kafka_out(kafka.bootstrap, {signal.value: name for signal, name in names.items()})
    exporter["kafka"] |= {"partition_traces_by_id": True, "partition_logs_by_trace_id": True}
    with Collector(tmp_path, pipelines(otlp_in(otlp_port), exporter)):
        export_orders(f"127.0.0.1:{otlp_port}", 60)

    for signal in (Signal.TRACES, Signal.LOGS):
        used = set()
        for record in records(kafka, names[signal]):
            (inside,) = {item.trace_id for item in items(REQUESTS[signal].FromString(record.value))}
            if inside:
                (ours,) = by_trace([Entry(topic(signal), record.value, items=1)], lambda _topic: PARTITIONS)
                assert ours.partition == record.partition
                used.add(record.partition)
        assert used == set(range(PARTITIONS)), signal


def test_without_it_partitions_are_filled_in_turn_a_batch_each(kafka: Broker) -> None:
    chosen = settings(kafka).model_copy(update={"partition_by": "balanced"})
    writer = KafkaLogWriter(chosen, MAX_RECORD_BYTES)
    rng, name = random.Random(9), topic(Signal.TRACES)
    # The client's batches are no larger than a record may be: two of these fill none together.
    large = [Entry(name, rng.randbytes(MAX_RECORD_BYTES * 3 // 4), "", NOW_NS, 1) for _ in range(PARTITIONS)]
    try:
        for rounds in (1, 2, 3):
            writer.append(large)
            found = records(kafka, chosen.topic(Signal.TRACES))
            assert Counter(record.partition for record in found) == dict.fromkeys(range(PARTITIONS), rounds)
    finally:
        writer.close()
