"""Retention of the embedded log: by age, by size, and never of what a group has yet to store."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader, SqliteLogRetention
from schemas.errors import LogUnavailableError
from schemas.log import DeadLetter, Entry
from schemas.settings import LogSettings

TOPIC = "otlp_spans"
MIB = 1024 * 1024
SETTINGS = LogSettings(max_bytes=64 * MIB, max_record_bytes=4 * MIB, retention_s=3600)


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_700_000_000.0

    def __call__(self) -> int:
        return int(self.now_s * 1e9)


class Log:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.clock = Clock()
        self.writer = SqliteLogWriter(path, SETTINGS, disk_reserve_bytes=0)
        self.reader = SqliteLogReader(path, TOPIC)
        self.inspector = SqliteLogInspector(path, clock_ns=self.clock)
        self.retention = SqliteLogRetention(path, SETTINGS, clock_ns=self.clock)
        self.reader.progress(0)

    def append(self, records: int, size_bytes: int = 10) -> None:
        for _ in range(records):
            self.writer.append([Entry(TOPIC, os.urandom(size_bytes), received_at_ns=self.clock(), items=1)])

    def store(self, last: int, reader: SqliteLogReader | None = None) -> None:
        (reader or self.reader).freeze(0, last)
        (reader or self.reader).commit(0)

    def offsets(self) -> list[int]:
        return [record.offset for record in self.reader.read(0, 0, max_records=10_000, max_bytes=1 << 40)]

    def close(self) -> None:
        for part in (self.retention, self.inspector, self.reader, self.writer):
            part.close()


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    opened = Log(tmp_path / "log.sqlite")
    yield opened
    opened.close()


def test_stored_records_are_deleted_once_they_are_old(log: Log) -> None:
    log.append(5)
    log.store(2)
    assert log.retention.trim() == 0
    log.clock.now_s += 3599
    assert log.retention.trim() == 0
    log.clock.now_s += 2
    assert log.retention.trim() == 3
    assert log.offsets() == [3, 4]


def test_records_that_are_not_yet_stored_stay_however_old(log: Log) -> None:
    log.append(5)
    log.retention.trim()
    log.clock.now_s += 365 * 86400
    assert log.retention.trim() == 0
    assert log.offsets() == [0, 1, 2, 3, 4]


def test_a_frozen_range_stays_however_old(log: Log) -> None:
    log.append(5)
    log.store(0)
    log.reader.freeze(0, 3)
    for _ in range(3):
        log.retention.trim()
        log.clock.now_s += 86400
    assert log.offsets() == [1, 2, 3, 4]


def test_age_counts_from_when_a_record_was_stored_not_from_when_it_came(log: Log) -> None:
    log.append(1)
    log.clock.now_s += 86400
    log.store(0)
    assert log.retention.trim() == 0
    log.clock.now_s += 3601
    assert log.retention.trim() == 1


def test_deletion_waits_for_the_slowest_group(log: Log) -> None:
    slow = SqliteLogReader(log.path, TOPIC, group="slow")
    slow.progress(0)
    log.append(5)
    log.store(4)
    log.store(1, slow)
    log.retention.trim()
    log.clock.now_s += 3601
    assert log.retention.trim() == 2
    assert log.offsets() == [2, 3, 4]
    slow.close()


def test_a_clock_that_steps_back_delays_deletion_by_one_retention_at_most(log: Log) -> None:
    log.append(1)
    log.store(0)
    log.retention.trim()
    log.clock.now_s -= 10 * 365 * 86400
    assert log.retention.trim() == 0
    log.clock.now_s += 3601
    assert log.retention.trim() == 1


def test_offsets_go_on_where_they_were_after_everything_was_deleted(log: Log) -> None:
    log.append(3)
    log.store(2)
    log.retention.trim()
    log.clock.now_s += 3601
    assert log.retention.trim() == 3
    assert log.reader.end_offset(0) == 3
    log.append(1)
    assert log.offsets() == [3]
    log.store(3)
    assert log.reader.progress(0).next_offset == 4


def test_counts_survive_deletion(log: Log) -> None:
    log.append(3)
    before = log.inspector.snapshot()
    log.store(2)
    log.retention.trim()
    log.clock.now_s += 3601
    assert log.retention.trim() == 3
    assert log.inspector.snapshot().counts == before.counts


def test_without_retention_stored_records_are_deleted_at_once(log: Log) -> None:
    log.append(2)
    log.store(0)
    retention = SqliteLogRetention(log.path, SETTINGS.model_copy(update={"retention_s": 0.0}), clock_ns=log.clock)
    assert retention.trim() == 1
    assert log.offsets() == [1]
    retention.close()


def test_a_log_full_of_unstored_records_refuses_appends_until_some_are_stored(log: Log) -> None:
    with pytest.raises(LogUnavailableError, match=rf"log\.max_bytes {64 * MIB}"):
        log.append(100, MIB)
    held = log.offsets()
    assert 40 <= len(held) <= 48
    with pytest.raises(LogUnavailableError):
        log.append(1, MIB)

    log.store(held[9])
    log.append(9, MIB)

    assert log.offsets()[-9:] == list(range(len(held), len(held) + 9))
    assert log.offsets()[0] <= held[10], "a record was deleted that is not yet stored"
    with pytest.raises(LogUnavailableError):
        log.append(5, MIB)


def test_the_file_stays_within_its_bound_whatever_passes_through(log: Log) -> None:
    for number in range(200):
        log.append(1, MIB)
        log.store(number)
    assert log.path.stat().st_size <= 48 * MIB
    assert log.inspector.size_bytes() <= 64 * MIB


def test_stored_records_are_deleted_ahead_of_the_bound(log: Log) -> None:
    log.append(46, MIB)
    log.store(45)
    assert log.retention.trim() > 0
    assert log.retention.trim() == 0


def test_dead_letters_that_wait_stay_and_redriven_ones_are_deleted_once_they_are_old(log: Log) -> None:
    log.append(2)
    records = log.reader.read(0, 0, max_records=2, max_bytes=MIB)
    log.reader.freeze(0, 1)
    log.reader.commit(0, [DeadLetter(record, "malformed", "why") for record in records])
    redriven, waiting = log.inspector.dead_letters()
    assert log.inspector.redrive(TOPIC, [redriven.id]) == 1
    for _ in range(2):
        log.clock.now_s += 3601
        log.retention.trim()
    assert log.inspector.dead_letters() == [waiting]
    assert log.offsets() == [2]


def test_a_large_file_that_became_mostly_free_gives_space_back(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("processors.sqlite_log_retention._SHRINK_ABOVE_BYTES", 8 * MIB)
    log.append(30, MIB)
    log.store(29)
    log.clock.now_s += 1
    log.retention.trim()
    log.clock.now_s += 3601
    assert log.retention.trim() == 30
    log.retention.trim()
    log.reader.close()
    log.inspector.close()
    log.retention.close()
    log.writer.close()
    assert log.path.stat().st_size < 10 * MIB


def test_a_writer_closes_while_its_checkpoint_runs(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = threading.Event()

    def checkpoint_for_a_while() -> None:
        begun.set()
        time.sleep(0.2)

    monkeypatch.setattr(log.writer, "_checkpoint", checkpoint_for_a_while)
    log.append(5, MIB)
    assert begun.wait(30)
    closes = threading.Thread(target=log.writer.close, daemon=True)
    closes.start()
    closes.join(30)
    assert not closes.is_alive()
