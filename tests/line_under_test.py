"""One signal's way from a real log through the writer to a real store, which may end at any step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ingest.sqlite_log import SqliteLogWriter
from ingest.wire_schema import REQUESTS
from processors.consume import Consumer
from processors.guard.guard import UNGUARDED
from processors.insert import StoreInserter
from processors.settings import BatchSettings
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader
from processors.write import BatchWriter
from schemas.errors import StoreUnavailableError
from schemas.log import DeadLetter, Entry, OffsetRange, Record
from schemas.settings import LogSettings
from schemas.signals import Signal, topic
from tests.otlp_requests import NOW_NS, items
from tests.rows_in_store import Database

POISON = b"\x0a\x04\x12\x02\x12\x09"
NUMBER = itertools.count(1)


class CrashError(Exception):
    """Stands for the end of the process."""


class CrashingReader(SqliteLogReader):
    """Ends the process at a step of the log's side."""

    step = ""

    def freeze(self, partition: int, last: int) -> OffsetRange:
        if self.step == "before freeze":
            raise CrashError
        frozen = super().freeze(partition, last)
        if self.step == "after freeze":
            raise CrashError
        return frozen

    def commit(self, partition: int, dead_letters: Sequence[DeadLetter] = ()) -> None:
        if self.step == "before commit":
            raise CrashError
        super().commit(partition, dead_letters)
        if self.step == "after commit":
            raise CrashError


class CrashingStore(StoreInserter):
    """Ends the process before or after the insert into a table."""

    step = ""
    away = 0

    def _insert(self, table: str, *rest: Any) -> None:
        if self.step == f"before {table}":
            raise CrashError
        if self.away:
            self.away -= 1
            raise StoreUnavailableError("store: away", retry_after_s=0.01)
        super()._insert(table, *rest)
        if self.step == f"after {table}":
            raise CrashError


class Line:
    """One signal's way: a log of its own, a reader and the tables. `policy` is that of the process that runs next."""

    policy = UNGUARDED
    received_at_ns = NOW_NS

    def __init__(self, folder: Path, tables: Database, signal: Signal, **settings: Any) -> None:
        self.path = folder / f"log-{next(NUMBER)}.sqlite"
        self.tables = tables
        self.signal = signal
        self.settings = BatchSettings(**({"max_age_s": 0.05, "retry_max_s": 0.2} | settings))
        self.log = SqliteLogWriter(self.path, LogSettings())
        # Of another group: a second reader of the consumer's would take its partition away.
        self._peek = SqliteLogReader(self.path, topic(signal), "peek")
        self._inspector = SqliteLogInspector(self.path)
        self.log_id = self._peek.log_id()

    def append(self, *values: bytes, tenant: str = "", counts: Sequence[int] = ()) -> None:
        counted = counts or [item_count(self.signal, value) for value in values]
        pairs = zip(values, counted, strict=True)
        self.log.append(
            [Entry(topic(self.signal), value, tenant, self.received_at_ns, count) for value, count in pairs]
        )

    def reader(self, step: str = "") -> CrashingReader:
        made = CrashingReader(self.path, topic(self.signal))
        made.step = step
        return made

    def store(self, step: str = "", away: int = 0) -> CrashingStore:
        made = CrashingStore(self.tables.connect, self.tables.name)
        made.step, made.away = step, away
        return made

    def records(self) -> list[Record]:
        return self._peek.read(0, 0, max_records=100_000, max_bytes=1 << 30)

    def crash(self, step: str) -> None:
        """Write what waits, until the process ends at `step`."""
        reader = self.reader(step)
        writer = BatchWriter(self.signal, reader, self.store(step), self.settings, self.policy)
        progress = reader.progress(0)
        last = progress.frozen.last if progress.frozen else None
        records = reader.read(0, progress.next_offset, last=last, max_records=1000, max_bytes=1 << 30)
        with pytest.raises(CrashError):
            writer.write(0, records)

    def consume(self, *, away: int = 0) -> Consumer:
        """A fresh consumer stores all that waits and ends; for those that stop by themselves see `stopped_for`."""
        consumer = Consumer(self.signal, self.reader(), self.store(away=away), self.settings, self.policy)
        consumer.start()
        assert consumer.drain(60)
        assert consumer.stop(60)
        return consumer

    def progress(self) -> tuple[int, OffsetRange | None]:
        # A reader that has not yet looked into the log has no progress there.
        found = self._inspector.snapshot().progress.get((topic(self.signal), 0))
        return (found.next_offset, found.frozen) if found else (0, None)

    def letters(self) -> list[DeadLetter]:
        return [kept.letter for kept in self._inspector.dead_letters()]

    def redrive(self) -> int:
        return self._inspector.redrive(topic(self.signal))

    def close(self) -> None:
        self._peek.close()
        self._inspector.close()
        self.log.close()


def item_count(signal: Signal, value: bytes) -> int:
    return len(list(items(REQUESTS[signal].FromString(value)))) if value != POISON else 1
