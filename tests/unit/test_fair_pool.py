"""Turns of peers, tenants and requests on few threads."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import Any

import pytest

from ingest.fair_pool import FairPool


@pytest.fixture
def gate() -> threading.Event:
    return threading.Event()


def recording(name: str, steps: int, ran: list[str]) -> Generator[None, None, str]:
    for _ in range(steps - 1):
        ran.append(name)
        yield
    ran.append(name)
    return name


def waiting(gate: threading.Event, begun: threading.Semaphore) -> Generator[None, None, None]:
    begun.release()
    gate.wait(30)
    return
    yield


def after_all(submitted: list[tuple[str, str, str, int]]) -> list[str]:
    """In which order the steps of (name, peer, tenant, steps) run on one thread, when all wait before the first."""
    pool, gate, begun, ran = FairPool(1, "test"), threading.Event(), threading.Semaphore(0), []
    held = pool.submit("first", "", waiting(gate, begun))
    begun.acquire()
    futures = [pool.submit(peer, tenant, recording(name, steps, ran)) for name, peer, tenant, steps in submitted]
    gate.set()
    held.result(30)
    assert [future.result(30) for future in futures] == [name for name, *_ in submitted]
    pool.shutdown()
    return ran


def test_a_small_request_waits_for_one_step_of_each_that_came_before() -> None:
    ran = after_all([(f"large-{n}", "peer", "", 30) for n in range(5)] + [("small", "peer", "", 1)])
    assert ran.index("small") <= 5
    assert len(ran) == 151


def test_tenants_of_a_peer_take_turns_however_many_requests_one_has() -> None:
    ran = after_all([("flood", "peer", "a", 1)] * 50 + [("other", "peer", "b", 1)])
    assert ran.index("other") <= 1


def test_peers_take_turns_however_many_tenants_one_invents() -> None:
    ran = after_all([("flood", "peer", f"invented-{n}", 3) for n in range(50)] + [("other", "another", "b", 1)])
    assert ran.index("other") <= 1


@pytest.mark.parametrize(("threads", "of_peer", "of_tenant"), [(1, 1, 1), (2, 1, 1), (4, 3, 2), (8, 7, 6)])
def test_one_peer_and_one_tenant_leave_threads_to_others(
    threads: int, of_peer: int, of_tenant: int, gate: threading.Event
) -> None:
    pool, begun = FairPool(threads, "test"), threading.Semaphore(0)
    futures = [pool.submit("peer", "a", waiting(gate, begun)) for _ in range(20)]
    futures += [pool.submit("peer", f"b-{n}", waiting(gate, begun)) for n in range(20)]
    for _ in range(of_peer):
        assert begun.acquire(timeout=30)
    assert sum(future.running() for future in futures) == of_peer
    assert sum(future.running() for future in futures[:20]) <= of_tenant
    if of_peer < threads:
        assert pool.submit("another", "", recording("x", 1, [])).result(30) == "x"
    gate.set()
    for future in futures:
        future.result(30)
    pool.shutdown()


def test_a_failure_is_its_own_and_a_withdrawn_request_does_not_run(gate: threading.Event) -> None:
    def failing() -> Generator[None, None, Any]:
        yield
        raise ValueError("broken")

    pool, begun, ran = FairPool(1, "test"), threading.Semaphore(0), list[str]()
    held = pool.submit("peer", "", waiting(gate, begun))
    begun.acquire()
    failed, withdrawn, good = (
        pool.submit("peer", "", steps)
        for steps in (failing(), recording("withdrawn", 2, ran), recording("good", 2, ran))
    )
    assert withdrawn.cancel()
    gate.set()
    with pytest.raises(ValueError, match="broken"):
        failed.result(30)
    assert (good.result(30), held.result(30), ran) == ("good", None, ["good", "good"])
    pool.shutdown()
    with pytest.raises(RuntimeError, match="shut down"):
        pool.submit("peer", "", recording("late", 1, ran))


def test_a_first_step_goes_before_the_further_steps_of_others_but_not_for_ever(gate: threading.Event) -> None:
    pool, begun, ran = FairPool(1, "test"), threading.Semaphore(0), list[str]()
    small: list[Any] = []

    def large(submits: int) -> Generator[None, None, None]:
        small.extend(pool.submit("peer", "", recording("small", 1, ran)) for _ in range(submits))
        yield
        ran.append("large")

    pool.submit("first", "", waiting(gate, begun))
    begun.acquire()
    futures = [pool.submit("peer", "", large(submits)) for submits in (0, 20)]
    gate.set()
    for future in [*futures, *small]:
        future.result(30)
    assert ran[0] == "small"
    assert ran.index("large") <= 8
    pool.shutdown()
