"""SIGKILL to the pipeline, to its store or to both at random moments under load: every acked item is stored once."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import time
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.faults.pipeline import Pipeline, pipeline, wait_until

# `make test-long` does the 50 rounds; KILL_ROUNDS takes another number.
ROUNDS = int(os.environ.get("KILL_ROUNDS", "50"))


def batches_under_way(running: Pipeline) -> int:
    """How many frozen ranges the kill left; asked of a copy, so that the next start finds the files as they are."""
    copy = running.folder / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(running.log_path.parent, copy)
    connection = sqlite3.connect(copy / running.log_path.name)
    try:
        return int(connection.execute("SELECT count(*) FROM progress WHERE frozen_last IS NOT NULL").fetchone()[0])
    except sqlite3.OperationalError:
        # Killed before the log had its tables.
        return 0
    finally:
        connection.close()
        shutil.rmtree(copy)


def kill_repeatedly(folder: Path, rounds: int, seed: int) -> None:
    moments = random.Random(seed)
    with pipeline(folder) as running:
        running.start()
        load = running.load()
        victims: Counter[str] = Counter()
        frozen = 0
        acks_s: list[float] = []
        batches_s: list[float] = []
        for number in range(rounds):
            if number % 4 == 2:
                # While it still starts, or has just begun to store what the last kill left.
                time.sleep(moments.uniform(0.0, 4.0))
            else:
                at_ns = time.monotonic_ns()
                wait_until(partial(load.acked_since, at_ns), "acknowledgements")
                acks_s.append((time.monotonic_ns() - at_ns) / 1e9)
                running.await_batch()
                batches_s.append((time.monotonic_ns() - at_ns) / 1e9)
                time.sleep(moments.uniform(0.0, 0.5))
            victim = (
                moments.choice(("pipeline", "store", "both")) if number > 2 else ("both", "pipeline", "store")[number]
            )
            victims[victim] += 1
            frozen += kill(running, victim)
        load.await_acks()
        load.stop()
        running.await_drained()
        proof = running.prove(load)
    print(
        f"\n{rounds} rounds ({', '.join(f'{count} {victim}' for victim, count in sorted(victims.items()))}), "
        f"{frozen} batches left under way by killed pipelines; items: {proof}; seconds from a kill to the first ack of "
        f"every signal {spread(acks_s[1:])}, to the next stored batch of every signal {spread(batches_s[1:])}"
    )
    assert proof.wrong == []
    assert proof.acked > 0


def kill(running: Pipeline, victim: str) -> int:
    """Kill, and start again what does not come back by itself; how many batches a killed pipeline left under way."""
    if victim in ("store", "both"):
        running.kill_store()
    if victim == "store":
        return 0
    running.kill()
    frozen = batches_under_way(running)
    running.start()
    return frozen


def spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"median {ordered[len(ordered) // 2]:.1f}, most {ordered[-1]:.1f}" if ordered else "not measured"


def test_killed_at_random_moments_every_acked_item_is_stored_once(tmp_path: Path) -> None:
    kill_repeatedly(tmp_path, rounds=6, seed=int.from_bytes(os.urandom(4), "big"))


@pytest.mark.long
@pytest.mark.timeout(0)
def test_killed_fifty_times_every_acked_item_is_stored_once(tmp_path: Path) -> None:
    kill_repeatedly(tmp_path, ROUNDS, seed=50)
