"""`python -m bench.partition`: what `kafka.partition_by: trace` costs, alone and on the way to a real broker.

The records are those of ingest under load: a request of 512 spans each, or five coalesced ones. The ways take turns, so
that a noisy moment meets all of them; CPU is this process's, all threads.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from pathlib import Path
from typing import Literal

import lz4.frame

from bench import spans
from ingest.kafka_log import KafkaLogWriter
from ingest.partition import by_trace, warm_up
from schemas.kafka_settings import KafkaSettings
from schemas.log import Entry
from schemas.signals import Signal, topic
from tests.testbed.kafka_broker import Broker

REQUESTS = 300
ROUNDS = 9
PARTITIONS = 12
WAYS: tuple[Literal["balanced", "trace"], ...] = ("balanced", "trace")


def main() -> None:
    """Print one line a measurement."""
    with tempfile.TemporaryDirectory() as named:
        folder = Path(named)
        dataset = spans.make(folder, REQUESTS, seed=1, first_start_ns=time.time_ns())
        bodies = list(spans.read(dataset.path))
        with Broker(folder / "kafka") as broker:
            for coalesced in (1, 5):
                entries = [
                    Entry(topic(Signal.TRACES), b"".join(bodies[at : at + coalesced]),
                          received_at_ns=time.time_ns(), items=coalesced * dataset.spans_a_request)
                    for at in range(0, len(bodies), coalesced)
                ]  # fmt: skip
                print(f"records of {coalesced * dataset.spans_a_request} spans, {PARTITIONS} partitions")
                _alone(entries, dataset.spans)
                _through(broker, entries, dataset.spans)


def _alone(entries: list[Entry], items: int) -> None:
    warm_up()
    cost = []
    for _ in range(ROUNDS):
        started_s = time.process_time()
        parts = by_trace(entries, lambda _topic: PARTITIONS)
        cost.append(time.process_time() - started_s)
    whole, split = (sum(len(each.value) for each in each_way) for each_way in (entries, parts))
    dense, loose = (sum(len(lz4.frame.compress(each.value)) for each in each_way) for each_way in (entries, parts))
    print(
        f"  by_trace  {statistics.median(cost) / items * 1e6:.3f} us/span; {len(parts) / len(entries):.1f} parts a "
        f"record; bytes x {split / whole:.3f}, as LZ4 x {loose / dense:.3f}"
    )


def _through(broker: Broker, entries: list[Entry], items: int) -> None:
    writers = {}
    for way in WAYS:
        name = f"{way}-{uuid.uuid4().hex[:8]}"
        chosen = KafkaSettings(
            bootstrap_servers=(broker.bootstrap,), traces_topic=f"{name}.spans", logs_topic=f"{name}.logs",
            metrics_topic=f"{name}.metrics", partitions=PARTITIONS, replication_factor=1, min_insync_replicas=1,
            partition_by=way,
        )  # fmt: skip
        writers[way] = KafkaLogWriter(chosen, 4 << 20)
        writers[way].append(entries[:10])
    cost: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            started_s = time.process_time()
            for at in range(0, len(entries), 10):
                writers[way].append(entries[at : at + 10])
            cost[way].append(time.process_time() - started_s)
    for way in WAYS:
        writers[way].close()
        print(f"  append, {way:8} {statistics.median(cost[way]) / items * 1e6:.3f} us/span of this process")


if __name__ == "__main__":
    main()
