"""The disk of log and store is full for a while: requests are refused, nothing acked is lost, it recovers by itself."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from schemas.signals import Signal
from tests.faults.pipeline import Load, Pipeline, pipeline, wait_until
from tests.faults.small_disks import MIB, mounted_tmpfs, mounting_is_permitted
from tests.testbed.parts import freeze

# The waits between two attempts grow while the disk is full; nobody wants to sit through the last of them here.
PATIENCE = {"SLUICEWAY_BATCH__RETRY_MAX_S": "1"}

pytestmark = pytest.mark.skipif(not mounting_is_permitted(), reason="needs the right to mount a tmpfs")


def fill(disk: Path) -> Path:
    """Take every byte that is left."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        # Whole at first, then what the pipeline gave back meanwhile.
        for size_bytes in (MIB, 4096):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size_bytes))
    return filler


def refused_since(load: Load, before: dict[Signal, int]) -> bool:
    now = load.count("refused")
    return all(now[kind] > before.get(kind, 0) for kind in Signal)


def fail_for_a_while(running: Pipeline, load: Load, disk: Path) -> Path:
    """Fill the disk so that the store has batches to insert which cannot fit; returns what fills it."""
    store = running.store_pid()
    assert store is not None
    freeze(store)
    load.await_acks("acknowledgements that are not stored yet")
    filler = fill(disk)
    said = len(running.said.read_text())
    os.kill(store, signal.SIGCONT)
    before = dict(load.count("refused"))
    wait_until(lambda: refused_since(load, before), "a refusal of every signal")
    wait_until(lambda: "batch not written" in running.said.read_text()[said:], "the store to refuse a batch")
    return filler


def test_a_full_disk_refuses_requests_and_recovers_by_itself(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted_tmpfs(disk, 320 * MIB), pipeline(tmp_path, data=disk / "data", settings=PATIENCE) as running:
        running.start()
        load = running.load()
        load.await_acks()
        running.await_batch()
        process, store = running.process, running.store_pid()

        filler = fail_for_a_while(running, load, disk)
        assert running.ask("SELECT count() FROM otel_traces") is not None, "reading goes on"
        acked_ns = time.monotonic_ns()
        assert not load.acked_since(acked_ns)
        filler.unlink()

        load.await_acks("acknowledgements after the disk has space again")
        running.await_batch()
        assert process is not None
        assert (process.poll(), running.store_pid()) == (None, store), "nothing had to be started again"
        load.stop()
        running.await_drained()
        proof = running.prove(load)
    print(f"\n{proof}")
    assert proof.wrong == []
    assert proof.refused > 0


@pytest.mark.slow
def test_killed_on_a_full_disk_all_that_was_acked_is_stored_once_there_is_space(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    with mounted_tmpfs(disk, 320 * MIB), pipeline(tmp_path, data=disk / "data", settings=PATIENCE) as running:
        running.start()
        load = running.load()
        load.await_acks()
        running.await_batch()

        filler = fail_for_a_while(running, load, disk)
        killed = running.kill_store()
        wait_until(lambda: running.store_pid() != killed, "the store to be gone")
        running.kill()
        before = dict(load.count("refused"))
        process = running.start()
        # Whether it waits for space or ends with a reason, it must not harm what is there.
        wait_until(lambda: process.poll() is not None or refused_since(load, before), "the full disk to be met again")
        filler.unlink()
        if process.poll() is not None:
            running.start()

        load.await_acks("acknowledgements after the disk has space again")
        load.stop()
        running.await_drained()
        proof = running.prove(load)
    assert proof.wrong == []
    assert "Traceback" not in running.said.read_text()
