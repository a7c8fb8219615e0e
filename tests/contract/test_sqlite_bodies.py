"""The embedded log keeps bodies packed where that is smaller, gives back what it was given, and reads older files."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader
from schemas.errors import ConfigurationError, LogUnavailableError
from schemas.log import DeadLetter, Entry
from schemas.settings import LogSettings
from schemas.sqlite_bodies import packed, unpacked

TOPIC = "otlp_spans"
BODIES = (b"", b"short", b"GET /cart " * 5000, os.urandom(3000), bytes(4 * 1024 * 1024))


@given(st.binary(max_size=300), st.integers(0, 40))
def test_a_body_is_what_it_was_and_never_larger(part: bytes, times: int) -> None:
    value = part * times
    kept, unpacked_bytes = packed(value)
    assert len(kept) <= len(value)
    assert unpacked(kept, unpacked_bytes) == value


def append(path: Path, *values: bytes) -> None:
    writer = SqliteLogWriter(path, LogSettings())
    writer.append([Entry(TOPIC, value, items=1) for value in values])
    writer.close()


def read(path: Path) -> list[bytes]:
    reader = SqliteLogReader(path, TOPIC)
    values = [record.value for record in reader.read(0, 0, max_records=100, max_bytes=1 << 30)]
    reader.close()
    return values


def kept(path: Path) -> list[int]:
    with sqlite3.connect(path) as connection:
        return [size for (size,) in connection.execute("SELECT length(value) FROM bodies ORDER BY id")]


def test_what_repeats_itself_takes_less_room_and_what_does_not_no_more(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    append(path, *BODIES)
    assert read(path) == list(BODIES)
    sizes = kept(path)
    assert sizes[:2] + sizes[3:4] == [0, 5, 3000]
    assert sizes[2] < 50_000 / 50
    assert sizes[4] < 4 * 1024 * 1024 / 50


def test_dead_letters_and_what_is_redriven_have_the_bytes_that_came(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    append(path, *BODIES)
    reader, inspector = SqliteLogReader(path, TOPIC), SqliteLogInspector(path)
    records = reader.read(0, 0, max_records=100, max_bytes=1 << 30)
    reader.freeze(0, records[-1].offset)
    reader.commit(0, [DeadLetter(record, "malformed", "", 1) for record in records])
    assert [letter.letter.source.value for letter in inspector.dead_letters()] == list(BODIES)
    assert inspector.redrive(TOPIC) == len(BODIES)
    assert [record.value for record in inspector.newest(TOPIC, len(BODIES))] == list(BODIES)
    for opened in (reader, inspector):
        opened.close()


def as_version_1(path: Path, *values: bytes) -> None:
    """A file as the release before wrote it: the bodies as they came, and nothing that says so."""
    append(path, *(b"" for _ in values))
    with sqlite3.connect(path) as connection:
        connection.executemany("UPDATE bodies SET value = ? WHERE id = ?", [(v, n + 1) for n, v in enumerate(values)])
        connection.execute("ALTER TABLE bodies DROP COLUMN unpacked_bytes")
        connection.execute("PRAGMA user_version = 1")
    connection.close()


def test_a_log_of_the_release_before_is_read_on_once_its_writer_has_opened_it(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    as_version_1(path, *BODIES)
    with pytest.raises(LogUnavailableError, match="is of version 1: its writer brings it to 2"):
        read(path)
    append(path, BODIES[2])
    assert read(path) == [*BODIES, BODIES[2]]
    assert kept(path)[2] == len(BODIES[2]) > kept(path)[-1]


def test_a_log_of_a_later_release_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    append(path, b"x")
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 3")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"of version 2; .* and version 3"):
        append(path, b"y")


@pytest.mark.parametrize("damaged", ["zeroblob(length(value))", "substr(value, 1, 9)"])
def test_a_body_that_was_damaged_on_disk_is_said_to_be(tmp_path: Path, damaged: str) -> None:
    path = tmp_path / "log.sqlite"
    append(path, BODIES[2])
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE bodies SET value = {damaged}")
    connection.close()
    with pytest.raises(LogUnavailableError, match="the file is damaged"):
        read(path)
