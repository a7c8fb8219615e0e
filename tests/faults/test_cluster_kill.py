"""With Kafka between them: SIGKILL to ingest, processors and store at random moments, processors that come and go."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.faults.cluster import Deployment, Member, Recoveries, deployment
from tests.faults.conftest import Engines
from tests.faults.proof import wait_until

# `make faults` does the 200 rounds; KILL_ROUNDS takes another number.
ROUNDS = int(os.environ.get("KILL_ROUNDS", "200"))

# A start compiles the decoder where nobody has, and machines are busy.
pytestmark = pytest.mark.timeout(900)


def random_seed() -> int:
    return int.from_bytes(os.urandom(4), "big")


def kill_repeatedly(folder: Path, engines: Engines, rounds: int, seed: int) -> None:
    moments = random.Random(seed)
    victims: Counter[str] = Counter()
    recoveries = Recoveries()
    frozen = 0
    with deployment(folder / "sluiceway", engines.broker.bootstrap, engines.store, ingests=2) as running:
        running.start()
        running.load()
        running.recovered()
        for number in range(rounds):
            if number % 4 == 2:
                # While it still starts, or has just begun on what the last kill left.
                time.sleep(moments.uniform(0.0, 4.0))
            else:
                time.sleep(moments.uniform(0.0, 1.0))
            # Each of them within three rounds, then as it comes.
            others = ("ingest", "process", "store")
            victim = others[number] if number < len(others) else moments.choice(others)
            victims[victim] += 1
            frozen += kill(running, victim, moments)
            if number % 4 != 1:
                recoveries.append(running.recovered())
        proof = running.prove()
    print(
        f"\n{rounds} rounds ({', '.join(f'{count} {victim}' for victim, count in sorted(victims.items()))}), "
        f"{frozen} batches left under way by killed processors; items: {proof}; {recoveries}"
    )
    assert proof.wrong == []
    assert proof.acked > 0


def kill(running: Deployment, victim: str, moments: random.Random) -> int:
    """Kill one, and start it again as a supervisor would; how many batches a killed processor left under way."""
    if victim == "store":
        running.store.kill()
        running.store.start()
        return 0
    member = moments.choice(running.ingests if victim == "ingest" else running.processors)
    member.kill()
    frozen = running.frozen() if victim == "process" else 0
    member.start()
    return frozen


def storm(folder: Path, engines: Engines, events: int, seed: int) -> None:
    moments = random.Random(seed)
    done: Counter[str] = Counter()
    # Who was asked to stop, and whether it was ready by then: one that still starts may end by the signal itself.
    leaving: dict[Member, bool] = {}
    codes: list[int | None] = []
    frozen = 0
    with deployment(folder / "sluiceway", engines.broker.bootstrap, engines.store, processors=3) as running:
        running.start()
        running.load()
        running.recovered()
        for _ in range(events):
            time.sleep(moments.uniform(0.0, 2.0))
            member = moments.choice(running.processors)
            if not member.running:
                done["join"] += 1
                codes += [member.exit_code] * leaving.pop(member, False)
                member.start()
            elif member not in leaving and moments.random() < 0.5:
                done["SIGTERM"] += 1
                leaving[member] = member.ready
                member.begin_stop()
            else:
                done["SIGKILL"] += 1
                leaving.pop(member, None)
                member.kill()
                frozen += running.frozen()
        for member, was_ready in leaving.items():
            wait_until(lambda m=member: not m.running, "the end of a processor that was asked to stop")
            codes += [member.exit_code] * was_ready
        running.start()
        at_s = time.monotonic()
        running.await_batch()
        settled_s = time.monotonic() - at_s
        proof = running.prove()
    print(
        f"\n{events} events ({', '.join(f'{count} {what}' for what, count in sorted(done.items()))}), {frozen} batches "
        f"left under way; items: {proof}; stored again {settled_s:.1f} s after the last member was ready"
    )
    assert set(codes) <= {0}
    assert proof.wrong == []
    assert proof.acked > 0


@pytest.mark.slow
def test_killed_at_random_moments_every_acked_item_is_stored_once(engines: Engines, tmp_path: Path) -> None:
    kill_repeatedly(tmp_path, engines, rounds=3, seed=random_seed())


@pytest.mark.slow
def test_processors_that_join_and_leave_at_random_store_every_acked_item_once(engines: Engines, tmp_path: Path) -> None:
    storm(tmp_path, engines, events=5, seed=random_seed())


@pytest.mark.long
@pytest.mark.timeout(0)
def test_killed_two_hundred_times_every_acked_item_is_stored_once(engines: Engines, tmp_path: Path) -> None:
    kill_repeatedly(tmp_path, engines, ROUNDS, seed=200)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_long_storm_of_rebalances_stores_every_acked_item_once(engines: Engines, tmp_path: Path) -> None:
    storm(tmp_path, engines, events=150, seed=3)
