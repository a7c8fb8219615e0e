"""Turns between flows: nothing is lost, each flow keeps its order, and no flow waits for the whole queue of another."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ingest.fair_queue import FairQueue

QUANTUM = 100


@dataclass(frozen=True)
class Waiting:
    flow: str
    number: int
    size_bytes: int


STEPS = st.lists(st.one_of(st.tuples(st.sampled_from("abcd"), st.integers(0, 700)), st.integers(1, 1500)), max_size=80)


@given(STEPS)
def test_everything_is_taken_once_each_flow_in_its_order_and_no_more_than_was_asked_for(
    steps: list[tuple[str, int] | int],
) -> None:
    queue: FairQueue[Waiting] = FairQueue(QUANTUM)
    model: dict[str, deque[Waiting]] = defaultdict(deque)
    for number, step in enumerate([*steps, 10**9]):
        if isinstance(step, tuple):
            each = Waiting(step[0], number, step[1])
            queue.put(each)
            model[each.flow].append(each)
            continue
        waited = any(model.values())
        taken = queue.take(step)
        assert bool(taken) == waited
        for each in taken:
            assert model[each.flow].popleft() == each
        assert sum(each.size_bytes for each in taken[:-1]) < step
        assert bool(queue) == any(model.values())


@given(st.lists(st.integers(1, 300), min_size=30, max_size=200), st.integers(200, 2000))
def test_while_flows_wait_none_is_ahead_of_another_by_more_than_a_turn_and_a_request(
    sizes: list[int], commit_bytes: int
) -> None:
    queue: FairQueue[Waiting] = FairQueue(QUANTUM)
    left = dict.fromkeys("abc", 0)
    for number, size in enumerate(sizes):
        for flow in "abc":
            # Each flow in another order of sizes.
            queue.put(Waiting(flow, number, sizes[(number * (ord(flow) - 95)) % len(sizes)] if flow != "a" else size))
            left[flow] += 1
    sent = dict.fromkeys("abc", 0)
    while all(left.values()):
        for each in queue.take(commit_bytes):
            sent[each.flow] += each.size_bytes
            left[each.flow] -= 1
        if all(left.values()):
            assert max(sent.values()) - min(sent.values()) <= 2 * (QUANTUM + 300)


def test_a_small_request_behind_a_flood_is_in_the_next_commit() -> None:
    queue: FairQueue[Waiting] = FairQueue()
    for number in range(1000):
        queue.put(Waiting("flood", number, 1 << 20))
    queue.put(Waiting("calm", 0, 1000))
    assert "calm" in {each.flow for each in queue.take(32 << 20)}


def test_a_request_larger_than_a_turn_and_a_commit_goes_alone() -> None:
    queue: FairQueue[Waiting] = FairQueue(QUANTUM)
    queue.put(Waiting("a", 0, 10**6))
    queue.put(Waiting("a", 1, 1))
    assert [each.number for each in queue.take(10)] == [0]
    assert [each.number for each in queue.take(10)] == [1]
    assert not queue
