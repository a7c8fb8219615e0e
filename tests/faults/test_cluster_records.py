"""Records that cannot be decoded, a flood of them, and records at and over every limit on size, with Kafka between."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path

import grpc
import pytest
from kafka import KafkaAdminClient, KafkaProducer
from kafka.admin import ConfigResource
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.kafka_log import largest_value_bytes
from schemas.signals import NAMES, Signal
from tests.faults.cluster import Deployment, Member, deployment, fresh_block
from tests.faults.conftest import Engines
from tests.faults.load import ITEMS, grpc_outcome, logs, metrics, resource, text, time_of, traces
from tests.faults.proof import wait_until
from tests.kafka_broker import create_topic
from tests.otlp_export import Exporting

_MAKE = {Signal.TRACES: traces, Signal.LOGS: logs, Signal.METRICS: metrics}
_GOOD = 5
_QUIET = {"TELEMETRY__ENABLED": "false", "BATCH__MAX_AGE_S": "1"}

# A start compiles the decoder where nobody has, and machines are busy.
pytestmark = pytest.mark.timeout(900)


@contextmanager
def foreign_producer(bootstrap: str) -> Iterator[KafkaProducer]:
    """As any program may write to a topic: no headers of ours."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type=None, max_request_size=1 << 27)
    try:
        yield producer
    finally:
        producer.close()


def poison(seed: int, good: bytes) -> bytes:
    """Bytes that are no OTLP request, in one of the ways in which records go wrong."""
    garbage = random.Random(seed).randbytes(200)
    return (
        b"\xff" * 20,
        good[:-3],
        b'{"resourceSpans":[]}',
        b"\x1f\x8b" + garbage,
        b"\x0a\xff\xff\x03" + garbage,
        b"\0",
    )[seed % 6]


def test_a_poison_record_at_every_position_of_a_batch_is_the_only_one_that_is_not_stored(
    engines: Engines, tmp_path: Path
) -> None:
    positions = _GOOD + 1
    with deployment(
        tmp_path / "sluiceway", engines.broker.bootstrap, engines.store, ingests=0, processors=1, settings=_QUIET
    ) as running:
        for kind in Signal:
            create_topic(engines.broker.bootstrap, running.kafka.topic(kind), partitions=positions)
        number = fresh_block()
        with foreign_producer(engines.broker.bootstrap) as producer:
            for kind in Signal:
                for position in range(positions):
                    for at in range(positions):
                        good = _MAKE[kind](number)
                        if at == position:
                            producer.send(running.kafka.topic(kind), poison(position, good), partition=position)
                            continue
                        producer.send(running.kafka.topic(kind), good, partition=position)
                        running.told[kind].update(dict.fromkeys(range(number, number + ITEMS), "acked"))
                        number += ITEMS
        running.start()
        proof = running.prove({(NAMES[kind].topic, ""): positions for kind in Signal})
        with closing(running.inspector()) as log:
            letters = {(kept.letter.source.topic, kept.letter.source.partition, kept.letter.source.offset)
                       for kept in log.dead_letters(limit=1000)}  # fmt: skip
            log_ids = ", ".join(f"'{each}'" for each in log.snapshot().log_ids.values())
        batches = running.ask(
            f"SELECT DISTINCT Topic, Partition, FirstOffset, LastOffset FROM ledger WHERE LogId IN ({log_ids})"
        )
    print(f"\npoison at each of {positions} positions of {3 * positions} batches; items: {proof}")
    places = [(NAMES[kind].topic, partition) for kind in Signal for partition in range(positions)]
    # Each partition was one batch, or the position in it would mean nothing.
    assert sorted(batches or ()) == sorted([topic, str(partition), "0", str(_GOOD)] for topic, partition in places)
    assert letters == {(topic, partition, partition) for topic, partition in places}
    assert proof.wrong == []


@pytest.mark.slow
def test_a_flood_of_poison_stops_its_signal_and_no_other_and_fills_no_dead_letters(
    engines: Engines, tmp_path: Path
) -> None:
    flood = 300
    with deployment(
        tmp_path / "sluiceway", engines.broker.bootstrap, engines.store, kafka={"max_poll_interval_s": 6}
    ) as running:
        running.start()
        running.load(sdk=False)
        running.recovered()
        with foreign_producer(engines.broker.bootstrap) as producer:
            for number in range(flood):
                producer.send(running.kafka.topic(Signal.TRACES), b"\xff" * (number + 1), partition=0)
        # Who stops leaves the group, and who takes over its partitions meets the flood as well.
        for member in running.processors:
            wait_until(lambda m=member: stopped(m), "the consumer of traces to stop")
        running.await_acks("acknowledgements while the consumers of one signal are stopped")
        running.await_batch(signals=[Signal.LOGS, Signal.METRICS])
        with closing(running.inspector()) as log:
            assert log.waiting_letters() == {}
        assert all(stopped(member) for member in running.processors)
        # What the message says to do.
        for member in running.processors:
            assert member.stop() == 0
            member.set("BATCH__FLOOD_SHARE", "1")
        running.start()
        running.recovered()
        proof = running.prove({(NAMES[Signal.TRACES].topic, ""): flood})
    print(f"\na flood of {flood} poison records; items: {proof}")
    assert proof.wrong == []


def stopped(member: Member) -> bool:
    status, body = member.get("/readyz")
    return status == 503 and "batch.flood_share" in body


def spans(first: int, count: int, size_bytes: int) -> bytes:
    """A request of `count` spans that is `size_bytes` large to the byte, of content that no compressor shrinks."""
    noise = random.Random(first)
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=resource(first))
    inside = group.scope_spans.add().spans
    for number in range(first, first + count):
        span = inside.add(trace_id=noise.randbytes(16), span_id=noise.randbytes(8), name="sized")
        span.start_time_unix_nano = span.end_time_unix_nano = time_of(first + 1)
        span.attributes.extend([text("load.id", str(number))])
        span.attributes.add(key="noise").value.bytes_value = noise.randbytes(max(1, size_bytes // count - 400))
    filler = inside[-1].attributes[-1].value
    for _ in range(4):
        missing = size_bytes - request.ByteSize()
        filler.bytes_value += noise.randbytes(max(0, missing))
        filler.bytes_value = filler.bytes_value[: len(filler.bytes_value) + min(0, missing)]
    assert request.ByteSize() == size_bytes
    return request.SerializeToString()


class Client:
    """Sends sized requests and keeps what it was told, item by item."""

    def __init__(self, running: Deployment, ingest: Member) -> None:
        self.export = Exporting(f"127.0.0.1:{ingest.grpc_port}")
        self._running = running

    def send(self, first: int, count: int, size_bytes: int, tenant: str = "") -> str:
        body = spans(first, count, size_bytes)
        try:
            self.export.export(Signal.TRACES, body, {"x-tenant": tenant} if tenant else None)
            outcome = "acked"
        except grpc.RpcError as error:
            outcome = grpc_outcome(error)
            if error.code() == grpc.StatusCode.INVALID_ARGUMENT:  # type: ignore[attr-defined]
                outcome = "refused"
        self._running.told[Signal.TRACES].update(dict.fromkeys(range(first, first + count), outcome))
        return outcome


@pytest.mark.parametrize("limit", [pytest.param("log.max_record_bytes", marks=pytest.mark.long), "max.message.bytes"])
def test_requests_at_and_over_a_limit_on_records_are_taken_split_or_refused(
    engines: Engines, tmp_path: Path, limit: str
) -> None:
    by_topic = limit == "max.message.bytes"
    message_bytes = 128 * 1024
    bound = largest_value_bytes(message_bytes, compressed=True) if by_topic else 100_000
    with deployment(
        tmp_path / "sluiceway",
        engines.broker.bootstrap,
        engines.store,
        processors=1,
        settings={} if by_topic else {"LOG__MAX_RECORD_BYTES": str(bound)},
    ) as running:
        if by_topic:
            create_topic(
                engines.broker.bootstrap, running.kafka.traces_topic, partitions=2, max_message_bytes=str(message_bytes)
            )
        running.start()
        client = Client(running, running.ingests[0])
        first = fresh_block()
        with client.export:
            told = {
                f"{count} of {what}": client.send(first + 1000 * n, count, size)
                for n, (count, what, size) in enumerate(
                    (count, what, size)
                    for count, factor in ((1, 1), (7, 1), (40, 10))
                    for what, size in (
                        ("1 less", factor * bound - 1),
                        ("all", factor * bound),
                        ("1 more", factor * bound + 1),
                    )
                )
            }
            # One item that fits nowhere takes the request with it, and the client is told.
            told["3 of too large"] = client.send(first + 90_000, 3, 4 * bound)
        proof = running.prove()
    assert {name: outcome for name, outcome in told.items() if outcome != "acked"} == {
        "1 of 1 more": "refused",
        "3 of too large": "refused",
    }
    assert proof.wrong == []


def test_a_topic_whose_limit_is_lowered_under_load_costs_and_doubles_nothing(engines: Engines, tmp_path: Path) -> None:
    with deployment(tmp_path / "sluiceway", engines.broker.bootstrap, engines.store, processors=1) as running:
        name = create_topic(
            engines.broker.bootstrap, running.kafka.traces_topic, partitions=2, max_message_bytes=str(256 * 1024)
        )
        running.start()
        client = Client(running, running.ingests[0])
        first = fresh_block()
        with client.export, ThreadPoolExecutor(24) as threads:
            assert client.send(first, 10, 200_000) == "acked"
            admin = KafkaAdminClient(bootstrap_servers=engines.broker.bootstrap)
            admin.alter_configs([ConfigResource("TOPIC", name, configs={"max.message.bytes": str(80 * 1024)})])
            admin.close()
            # Neighbours of other tenants are other records of the same append.
            sent = [
                threads.submit(
                    client.send, first + 1000 * n, 10, 150_000 if n % 6 == 0 else 3_000, tenant=f"tenant-{n % 6}"
                )
                for n in range(1, 120)
            ]
            told = [each.result() for each in sent]
            assert client.send(first + 200_000, 10, 150_000) == "acked"
        proof = running.prove()
    print(f"\na limit lowered under load; requests: {told.count('acked')} of {len(told)} acked; items: {proof}")
    assert proof.wrong == []
    assert "acked" in told
