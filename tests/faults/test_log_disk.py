"""A disk that is full, read-only or locked refuses appends, harms nothing acked, and serves again by itself."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ingest.sqlite_log
from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader, SqliteLogRetention
from schemas.errors import ConfigurationError, LogUnavailableError
from schemas.log import Entry, LogReader
from schemas.settings import LogSettings
from tests.faults.small_disks import FULL_DISKS, MIB, READ_ONLY_DISKS, FailingDisk, failing_disk

TOPIC = "otlp_spans"
# Nothing that could be packed: a disk would not fill up with it.
BODY = random.Random(7).randbytes(256 * 1024)
SETTINGS = LogSettings(max_bytes=1024 * MIB, retention_s=0)


@pytest.fixture(params=FULL_DISKS)
def full_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FailingDisk]:
    with failing_disk(FULL_DISKS[request.param], tmp_path / "disk") as disk:
        yield disk


@pytest.fixture(params=READ_ONLY_DISKS)
def read_only_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[FailingDisk]:
    with failing_disk(READ_ONLY_DISKS[request.param], tmp_path / "disk") as disk:
        yield disk


def numbered(number: int) -> Entry:
    return Entry(TOPIC, number.to_bytes(4, "big") + BODY, items=1)


def append_until_refused(writer: SqliteLogWriter, first: int = 0) -> int:
    """The first number that was refused; every append is two records, so that half of one would show."""
    for number in range(first, first + 100_000, 2):
        try:
            writer.append([numbered(number), numbered(number + 1)])
        except LogUnavailableError:
            return number
    raise AssertionError("the disk never filled up")


def numbers(reader: LogReader) -> list[int]:
    read: list[int] = []
    offset = 0
    while records := reader.read(0, offset, max_records=100, max_bytes=8 * MIB):
        assert all(record.value[4:] == BODY for record in records)
        read += [int.from_bytes(record.value[:4], "big") for record in records]
        offset = records[-1].offset + 1
    return read


def test_a_disk_that_fills_up_refuses_appends_and_recovers_by_itself(full_disk: FailingDisk) -> None:
    path = full_disk.folder / "log.sqlite"
    writer = SqliteLogWriter(path, SETTINGS, disk_reserve_bytes=0)
    reader = SqliteLogReader(path, TOPIC)
    assert numbers(reader) == []
    full_disk.fail()

    # A refusal may move what is in the write-ahead log into the file, which leaves room for a little more.
    refused = append_until_refused(writer)
    assert refused > 0
    for _ in range(3):
        refused = append_until_refused(writer, refused)
    assert append_until_refused(writer, refused) == refused
    assert numbers(reader) == list(range(refused))

    full_disk.heal()
    writer.append([numbered(refused), numbered(refused + 1)])
    reader.freeze(0, refused + 1)
    reader.commit(0)
    assert numbers(reader) == list(range(refused + 2))
    reader.close()
    writer.close()


def test_a_full_disk_survives_a_restart_of_the_writer(full_disk: FailingDisk) -> None:
    path = full_disk.folder / "log.sqlite"
    writer = SqliteLogWriter(path, SETTINGS, disk_reserve_bytes=0)
    full_disk.fail()
    refused = append_until_refused(writer)
    writer.close()

    writer = SqliteLogWriter(path, SETTINGS, disk_reserve_bytes=0)
    append_until_refused(writer, refused)
    full_disk.heal()
    writer.append([Entry(TOPIC, b"end!" + BODY)])

    reader = SqliteLogReader(path, TOPIC)
    read = numbers(reader)
    assert read == [*range(len(read) - 1), int.from_bytes(b"end!", "big")]
    assert len(read) > refused
    reader.close()
    writer.close()


def test_below_the_reserve_appends_are_refused_while_readers_go_on(tmp_path: Path) -> None:
    free_bytes = 0

    class Disk:
        f_frsize = 1

        @property
        def f_bavail(self) -> int:
            return free_bytes

    path = tmp_path / "log.sqlite"
    writer = SqliteLogWriter(path, SETTINGS, disk_reserve_bytes=10 * MIB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "statvfs", lambda _: Disk())
        free_bytes = 12 * MIB
        writer.append([numbered(0)])
        free_bytes = 10 * MIB
        with pytest.raises(LogUnavailableError, match=f"must keep {10 * MIB} bytes free; {10 * MIB} are left"):
            writer.append([numbered(1)])
        reader = SqliteLogReader(path, TOPIC)
        assert numbers(reader) == [0]
        reader.freeze(0, 0)
        reader.commit(0)
        free_bytes = 12 * MIB
        writer.append([numbered(1)])
    assert numbers(reader) == [0, 1]
    reader.close()
    writer.close()


def test_a_read_only_disk_refuses_appends_and_recovers_by_itself(read_only_disk: FailingDisk) -> None:
    path = read_only_disk.folder / "log.sqlite"
    writer = SqliteLogWriter(path, SETTINGS, disk_reserve_bytes=0)
    writer.append([numbered(0), numbered(1)])
    writer.close()
    read_only_disk.fail()

    writer = SqliteLogWriter(path, SETTINGS, disk_reserve_bytes=0)
    reader = SqliteLogReader(path, TOPIC)
    for _ in range(2):
        with pytest.raises(LogUnavailableError):
            writer.append([numbered(2), numbered(3)])
        with pytest.raises(LogUnavailableError):
            reader.progress(0)

    read_only_disk.heal()
    writer.append([numbered(2), numbered(3)])
    assert numbers(reader) == [0, 1, 2, 3]
    reader.close()
    writer.close()


def test_a_locked_file_refuses_appends_until_the_lock_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.sqlite_log, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "log.sqlite"
    writer = SqliteLogWriter(path, SETTINGS)
    writer.append([numbered(0)])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogUnavailableError, match="lock"):
        writer.append([numbered(1)])
    other.execute("ROLLBACK")
    other.close()
    writer.append([numbered(1)])
    reader = SqliteLogReader(path, TOPIC)
    assert numbers(reader) == [0, 1]
    reader.close()
    writer.close()


HOLD = """
import sys, pathlib
from ingest.sqlite_log import SqliteLogWriter
from schemas.settings import LogSettings
writer = SqliteLogWriter(pathlib.Path(sys.argv[1]), LogSettings())
print("holding", flush=True)
sys.stdin.read()
"""


def test_a_second_writer_process_is_refused_by_the_first_ones_id(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin is not None
        assert first.stdout is not None
        assert first.stdout.readline() == "holding\n"
        with pytest.raises(ConfigurationError, match=rf"process {first.pid} writes {path}"):
            SqliteLogWriter(path, SETTINGS)
        reader = SqliteLogReader(path, TOPIC)
        assert numbers(reader) == []
        reader.close()
        first.kill()
    SqliteLogWriter(path, SETTINGS).close()


def test_a_second_writer_of_the_same_process_is_refused(tmp_path: Path) -> None:
    writer = SqliteLogWriter(tmp_path / "log.sqlite", SETTINGS)
    with pytest.raises(ConfigurationError, match="must not be in use by another writer"):
        SqliteLogWriter(tmp_path / "log.sqlite", SETTINGS)
    writer.append([numbered(0)])
    writer.close()


@pytest.mark.parametrize(
    "open_log",
    [lambda path: SqliteLogReader(path, TOPIC).progress(0), lambda path: SqliteLogInspector(path).snapshot(),
     lambda path: SqliteLogRetention(path, SETTINGS).trim()],
)  # fmt: skip
def test_a_log_that_does_not_exist_is_not_made_by_reading_it(
    tmp_path: Path, open_log: Callable[[Path], object]
) -> None:
    with pytest.raises(LogUnavailableError, match=r"log\.sqlite"):
        open_log(tmp_path / "log.sqlite")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_log_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_bytes(b"Dear diary, " * 1000)
    with pytest.raises(ConfigurationError, match="is another kind of file"):
        SqliteLogWriter(text, SETTINGS)
    assert text.read_bytes() == b"Dear diary, " * 1000


def test_a_database_that_is_no_log_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE people (name)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="application_id 0x0 and version 0"):
        SqliteLogWriter(path, SETTINGS)
    assert path.read_bytes() == before


def test_a_closed_writer_refuses_appends(tmp_path: Path) -> None:
    writer = SqliteLogWriter(tmp_path / "log.sqlite", SETTINGS)
    writer.close()
    writer.close()
    with pytest.raises(LogUnavailableError, match="closed"):
        writer.append([numbered(0)])
