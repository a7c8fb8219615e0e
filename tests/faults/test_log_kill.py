"""SIGKILL at random moments, over and over on one log: what was acked is there, and a batch keeps its bounds."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from processors.sqlite_log import SqliteLogInspector, SqliteLogReader
from schemas.log import Record
from tests.faults.log_victim import TOPIC, value

ROOT = Path(__file__).parents[2]


def run_and_kill(log: Path, reports: Path, first_number: int, after_s: float) -> None:
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.log_victim", str(log), str(reports), str(first_number)], cwd=ROOT
    )
    try:
        known = reports.stat().st_size if reports.exists() else 0
        while victim.poll() is None and (not reports.exists() or reports.stat().st_size == known):
            time.sleep(0.005)
        time.sleep(after_s)
    finally:
        victim.kill()
        victim.wait()
    assert victim.returncode == -9, "the victim ended by itself"


def records_of(log: Path) -> list[Record]:
    reader = SqliteLogReader(log, TOPIC, group="check")
    read: list[Record] = []
    while batch := reader.read(0, read[-1].offset + 1 if read else 0, max_records=100, max_bytes=16 << 20):
        read += batch
    reader.close()
    return read


def kill_repeatedly(tmp_path: Path, rounds: int, seed: int) -> None:
    log, reports = tmp_path / "log.sqlite", tmp_path / "reports"
    moments = random.Random(seed)
    records: list[Record] = []
    for _ in range(rounds):
        run_and_kill(log, reports, len(records), moments.uniform(0.0, 0.25))
        records = records_of(log)

        lines = [line.split() for line in reports.read_text().splitlines()]
        acked = max(int(words[1]) for words in lines if words[0] == "acked")
        assert [record.value for record in records] == [value(number) for number in range(len(records))]
        assert len(records) % 5 == 0, "an append was torn"
        assert len(records) > acked

        inspector = SqliteLogInspector(log)
        snapshot = inspector.snapshot()
        inspector.close()
        assert [(count.records, count.items) for count in snapshot.counts] == [(len(records), len(records))]

        progress = snapshot.progress[TOPIC, 0]
        batches = sorted(
            {(int(first), int(last), digest) for kind, first, last, digest in (w for w in lines if w[0] == "inserted")}
        )
        position = 0
        for first, last, digest in batches:
            assert first == position, "a batch was rebuilt with other bounds"
            assert hashlib.sha256(b"".join(record.value for record in records[first : last + 1])).hexdigest() == digest
            position = last + 1
        frozen_but_not_inserted = progress.frozen is not None and position == progress.next_offset
        inserted_but_not_committed = progress.frozen is not None and position == progress.frozen.last + 1
        assert position == progress.next_offset or frozen_but_not_inserted or inserted_but_not_committed


def test_killed_at_random_moments_the_log_keeps_all_that_was_acked(tmp_path: Path) -> None:
    kill_repeatedly(tmp_path, rounds=6, seed=1)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_killed_a_hundred_times_the_log_keeps_all_that_was_acked(tmp_path: Path) -> None:
    for seed in range(10):
        (tmp_path / str(seed)).mkdir()
        kill_repeatedly(tmp_path / str(seed), rounds=10, seed=seed)
