"""What kafka-python itself costs: the dataset appended as the records that ingest makes, and read back, no more.

`python -m bench.kafka_client produce|consume BOOTSTRAP NAME FILE` is the process whose CPU is counted. The topics were
made, and connections are open and warm, before counting begins.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench.collector import create_topic
from bench.spans import SPANS_A_REQUEST, Dataset, read
from ingest.kafka_log import KafkaLogWriter
from processors.kafka_log import KafkaLogReader
from schemas.kafka_settings import KafkaSettings
from schemas.log import Entry
from schemas.settings import MIB
from schemas.signals import NAMES, Signal
from sluiceway.embedded import runtime
from tests.testbed.kafka_broker import Broker

_TOPIC = NAMES[Signal.TRACES].topic
# As ingest coalesces under load: two large requests a record, a few records a commit.
_REQUESTS_A_RECORD = 2
_RECORDS_AN_APPEND = 4
_WARM_UP_APPENDS = 8
PARTITIONS = 4


def _settings(bootstrap: str, name: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap_servers=(bootstrap,), traces_topic=name, metrics_topic=f"{name}-m", logs_topic=f"{name}-l",
        replication_factor=1, min_insync_replicas=1, partitions=1, max_message_bytes=16 * MIB,
    )  # fmt: skip


def _appends(path: Path) -> Iterator[list[Entry]]:
    bodies = read(path)
    while records := [
        Entry(_TOPIC, b"".join(part), "", time.time_ns(), SPANS_A_REQUEST * len(part))
        for _ in range(_RECORDS_AN_APPEND)
        if (part := list(islice(bodies, _REQUESTS_A_RECORD)))
    ]:
        yield records


def produce(bootstrap: str, name: str, path: Path) -> dict[str, float]:
    """CPU seconds and spans of appending the file, the first appends apart."""
    log = KafkaLogWriter(_settings(bootstrap, name), 4 * MIB)
    appends = list(_appends(path))
    spans = 0
    begun_s = 0.0
    for number, entries in enumerate(appends):
        if number == _WARM_UP_APPENDS:
            begun_s, spans = time.process_time(), 0
        log.append(entries)
        spans += sum(entry.items for entry in entries)
    used_s = time.process_time() - begun_s
    log.close()
    return {"cpu_s": used_s, "spans": spans}


def consume(bootstrap: str, name: str, path: Path) -> dict[str, float]:
    """CPU seconds and spans of reading all of it, from the moment that the partitions are ours."""
    expected = sum(entry.items for entries in _appends(path) for entry in entries)
    reader = KafkaLogReader(_settings(bootstrap, name), _TOPIC, f"bench-{time.time_ns()}")
    while len(reader.partitions()) < PARTITIONS:
        reader.wait(0.1)
    begun_s, got = time.process_time(), 0
    while got < expected:
        for partition in reader.partitions():
            while found := reader.read(
                partition, reader.progress(partition).next_offset, max_records=10_000, max_bytes=48 * MIB
            ):
                got += sum(record.items or 0 for record in found)
                reader.freeze(partition, found[-1].offset)
                reader.commit(partition)
        reader.wait(0.1)
    used_s = time.process_time() - begun_s
    reader.close()
    return {"cpu_s": used_s, "spans": got}


def measure(dataset: Dataset, broker: Broker) -> float:
    """CPU microseconds a span of both sides together.

    Raises:
        subprocess.CalledProcessError: one of them failed.
    """
    name = create_topic(broker, PARTITIONS)
    us = 0.0
    for side in ("produce", "consume"):
        command = [sys.executable, "-m", "bench.kafka_client", side, broker.bootstrap, name, str(dataset.path)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        measured = json.loads(done.stdout)
        us += measured["cpu_s"] / measured["spans"] * 1e6
    return us


def main() -> int:
    """Command line."""
    side, bootstrap, name, path = sys.argv[1:]
    runtime.bound_arenas()
    runtime.tune()
    print(json.dumps({"produce": produce, "consume": consume}[side](bootstrap, name, Path(path))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
