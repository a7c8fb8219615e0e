"""Draining on an orderly stop: what was appended before it is stored before it ends, at whatever moment it begins."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ingest.sqlite_log import SqliteLogWriter
from processors.consume import Consumer
from processors.insert import StoreInserter
from processors.settings import BatchSettings
from processors.sqlite_log import SqliteLogReader
from schemas.log import Entry
from schemas.settings import LogSettings
from schemas.signals import Signal, topic
from tests.faults.load import ITEMS, traces

TOPIC = topic(Signal.TRACES)
TIMEOUT_S = 240.0


class CountingInserter(StoreInserter):
    """A store that takes everything; it counts the spans."""

    def __init__(self) -> None:
        super().__init__(lambda: None, "otel")  # type: ignore[arg-type, return-value]
        self.stored: Counter[str] = Counter()

    def native(self, table: str, _names: Sequence[str], _body: memoryview, rows: int, _token: str) -> None:
        self.stored[table] += rows

    def query(self, _sql: str, _parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        return []

    def rows(self, table: str, rows: Sequence[Mapping[str, Any]], _token: str) -> None:
        self.stored[table] += len(rows)


class InterruptedReader(SqliteLogReader):
    """While the consumer first waits for records, one arrives and the drain begins: the narrowest of all moments."""

    def __init__(self, path: Path, writer: SqliteLogWriter) -> None:
        super().__init__(path, TOPIC)
        self._writer = writer
        self.begin_drain: Callable[[], None] | None = None
        self.interrupted = threading.Event()

    def wait(self, timeout_s: float) -> None:
        if self.begin_drain is None or self.interrupted.is_set():
            super().wait(timeout_s)
            return
        self._writer.append([Entry(TOPIC, traces(0), items=ITEMS, received_at_ns=1)])
        self.begin_drain()
        self.interrupted.set()


def test_a_record_that_arrives_as_the_drain_begins_is_stored_before_it_ends(tmp_path: Path) -> None:
    writer = SqliteLogWriter(tmp_path / "log.sqlite", LogSettings(), disk_reserve_bytes=0)
    writer.append([Entry(TOPIC + ".dlq", b"", items=0)])
    reader, store = InterruptedReader(tmp_path / "log.sqlite", writer), CountingInserter()
    consumer = Consumer(Signal.TRACES, reader, store, BatchSettings())
    reader.begin_drain = consumer.begin_drain

    consumer.start()
    assert reader.interrupted.wait(TIMEOUT_S)
    assert consumer.drain(TIMEOUT_S)
    assert store.stored["otel_traces"] == ITEMS

    assert consumer.stop(TIMEOUT_S)
    writer.close()


def test_a_drain_that_cannot_end_says_so(tmp_path: Path) -> None:
    reader = SqliteLogReader(tmp_path / "log that is not there.sqlite", TOPIC)
    consumer = Consumer(Signal.TRACES, reader, CountingInserter(), BatchSettings(retry_max_s=0.2))

    consumer.start()
    assert not consumer.drain(0.3)
    assert consumer.stop(TIMEOUT_S)
