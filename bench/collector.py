"""The peer of the Kafka path: one Collector from OTLP to Kafka, another from Kafka into the stock ClickHouse table.

Both run at once on the given broker, as our ingest and processors do. Nothing is lost on the way: the first answers
when all replicas have the record, the second blocks when its queue is full, and the rows are counted at the end.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient

from bench import store
from bench.end_to_end import TABLE
from bench.receive import send_file
from bench.rotel import stock_store, store_pid, store_s
from bench.spans import Dataset
from bench.usage import Meter
from tests.testbed.collector import Collector
from tests.testbed.collector_configs import kafka_to_clickhouse, otlp_to_kafka
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import free_ports

MAX_MESSAGE_BYTES = 16 << 20


@dataclass(frozen=True, slots=True)
class KafkaPathCost:
    """CPU seconds of each process between an OTLP request and its durable, merged rows, for `spans` spans."""

    to_kafka_s: float
    broker_s: float
    from_kafka_s: float
    store_s: float
    final_merge_s: float
    spans: int
    elapsed_s: float

    def us(self, seconds: float) -> float:
        """Microseconds a span."""
        return seconds / self.spans * 1e6

    @property
    def us_per_span(self) -> float:
        """All CPU but the broker's, microseconds a span: what is compared."""
        return self.us(self.to_kafka_s + self.from_kafka_s + self.store_s + self.final_merge_s)


def create_topic(broker: Broker, partitions: int) -> str:
    """A fresh topic of the benchmark."""
    name = f"bench-{uuid.uuid4().hex[:8]}"
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    try:
        configs = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
        admin.create_topics({name: {"num_partitions": partitions, "configs": configs}}, wait_for_metadata=True)
    finally:
        admin.close()
    return name


def measure(dataset: Dataset, folder: Path, broker: Broker, *, partitions: int = 4) -> KafkaPathCost:
    """Send the dataset once through both Collectors into a fresh topic and a fresh stock table.

    Raises:
        RuntimeError: the table holds another number of rows than spans were acknowledged.
        MissingPartError: there is no Collector and no Go to build one.
    """
    folder.mkdir(parents=True)
    otlp_port, native_port = free_ports(2)
    topic = create_topic(broker, partitions)
    with stock_store(folder / "store", native_port=native_port) as (running, client):
        first = otlp_to_kafka(otlp_port, broker.bootstrap, topic)
        second = kafka_to_clickhouse(
            broker.bootstrap, topic, topic, native_port, running.writer_user, running.writer_password
        )
        with Collector(folder / "to_kafka", first) as to_kafka, Collector(folder / "from_kafka", second) as from_kafka:
            address = f"127.0.0.1:{otlp_port}"
            send_file(address, dataset.warm_up)
            store.await_rows(client, TABLE, dataset.warm_up_spans)
            store.await_merges(client)
            meters = {
                name: Meter(pid)
                for name, pid in {
                    "to_kafka": to_kafka.pid, "broker": broker.pid, "from_kafka": from_kafka.pid,
                    "store": store_pid(running),
                }.items()
            }  # fmt: skip
            started_s = time.monotonic()
            send_file(address, dataset.path)
            store.await_rows(client, TABLE, dataset.warm_up_spans + dataset.spans)
            elapsed_s = time.monotonic() - started_s
            used = {name: meter.total_s() for name, meter in meters.items()}
            for meter in meters.values():
                meter.close()
            inserted_s, final_s = store_s(client, meters["store"], dataset)
    return KafkaPathCost(
        used["to_kafka"], used["broker"], used["from_kafka"], inserted_s, final_s, dataset.spans, elapsed_s
    )
