"""One log, several processes: readers and operators' commands beside the pipeline that writes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader
from schemas.log import DeadLetter, Entry
from schemas.settings import LogSettings

ROOT = Path(__file__).parents[2]
TOPIC = "otlp_spans"

WRITE = """
import pathlib, sys
from ingest.sqlite_log import SqliteLogWriter
from schemas.log import Entry
from schemas.settings import LogSettings
writer = SqliteLogWriter(pathlib.Path(sys.argv[1]), LogSettings())
print("ready", flush=True)
for line in sys.stdin:
    writer.append([Entry("otlp_spans", line.strip().encode(), items=1)])
    print("acked", flush=True)
"""
REDRIVE = """
import pathlib, sys
from processors.sqlite_log import SqliteLogInspector
print(SqliteLogInspector(pathlib.Path(sys.argv[1])).redrive("otlp_spans"))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


@pytest.fixture
def other_writer(path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", WRITE, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield process


def values(reader: SqliteLogReader) -> list[bytes]:
    return [record.value for record in reader.read(0, 0, max_records=1000, max_bytes=1 << 30)]


def test_a_waiting_reader_hears_of_another_processs_append(path: Path, other_writer: subprocess.Popen[str]) -> None:
    assert other_writer.stdin is not None
    assert other_writer.stdout is not None
    reader = SqliteLogReader(path, TOPIC)
    for number in range(5):
        assert len(values(reader)) == number
        waits = threading.Thread(target=reader.wait, args=(60,))
        waits.start()
        print(number, file=other_writer.stdin, flush=True)
        waits.join(30)
        assert not waits.is_alive()
        assert other_writer.stdout.readline() == "acked\n"
    assert values(reader) == [b"0", b"1", b"2", b"3", b"4"]
    reader.close()


def test_another_process_redrives_beside_a_writer_that_appends(path: Path) -> None:
    writer, reader = SqliteLogWriter(path, LogSettings()), SqliteLogReader(path, TOPIC)
    writer.append([Entry(TOPIC, b"bad %d" % n, items=1) for n in range(200)])
    bad = reader.read(0, 0, max_records=1000, max_bytes=1 << 20)
    reader.freeze(0, 199)
    reader.commit(0, [DeadLetter(record, "malformed", "why") for record in bad])

    appended = 0
    with subprocess.Popen(
        [sys.executable, "-c", REDRIVE, str(path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as redrive:
        while redrive.poll() is None:
            writer.append([Entry(TOPIC, b"good %d" % appended, items=1)])
            appended += 1
        assert redrive.stdout is not None
        assert redrive.stdout.read() == "200\n"

    records = reader.read(0, 200, max_records=100_000, max_bytes=1 << 30)
    assert [record.offset for record in records] == list(range(200, 400 + appended))
    assert [r.value for r in records if r.headers] == [b"bad %d" % n for n in range(200)]
    assert [r.value for r in records if not r.headers] == [b"good %d" % n for n in range(appended)]
    inspector = SqliteLogInspector(path)
    [count] = inspector.snapshot().counts
    assert (count.records, count.items) == (400 + appended, 400 + appended)
    for opened in (inspector, reader, writer):
        opened.close()


def test_snapshots_from_another_connection_balance_while_the_pipeline_runs(path: Path) -> None:
    writer, reader, inspector = (
        SqliteLogWriter(path, LogSettings()),
        SqliteLogReader(path, TOPIC),
        SqliteLogInspector(path),
    )
    reader.progress(0)
    done = threading.Event()

    def pipeline() -> None:
        for number in range(100):
            writer.append([Entry(TOPIC, b"x", items=3), Entry(TOPIC, b"y", items=4)])
            if number % 3 == 0:
                reader.freeze(0, 2 * number + 1)
                reader.commit(0)
        done.set()

    runs = threading.Thread(target=pipeline)
    runs.start()
    seen = 0
    while not done.is_set() or not seen:
        snapshot = inspector.snapshot()
        for count in snapshot.counts:
            stored_records = snapshot.progress[TOPIC, 0].next_offset
            stored_items = stored_records // 2 * 7
            assert count.items == stored_items + snapshot.in_flight_items.get((TOPIC, 0, ""), 0)
            seen += 1
    runs.join()
    for opened in (inspector, reader, writer):
        opened.close()
