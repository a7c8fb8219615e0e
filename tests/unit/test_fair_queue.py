"""Turns between flows: nothing is lost, each flow keeps its order, and no flow waits for the whole queue of another."""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

import pytest
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


class Ahead:
    """How far each flow has come against each other one, since both last began to wait together."""

    def __init__(self, quantum_bytes: int) -> None:
        self._quantum_bytes = quantum_bytes
        self._waiting: dict[str, int] = defaultdict(int)
        self._largest: dict[str, int] = defaultdict(int)
        self._lead: dict[tuple[str, str], list[int]] = {}
        self.most_bytes = 0

    def put(self, each: Waiting) -> None:
        self._waiting[each.flow] += 1
        self._largest[each.flow] = max(self._largest[each.flow], each.size_bytes)
        for other, waiting in self._waiting.items():
            if other != each.flow and waiting:
                # The first's bytes less the second's: now, at least, at most.
                self._lead.setdefault(_pair(each.flow, other), [0, 0, 0])

    def take(self, each: Waiting) -> None:
        """Asserts the bound for every stretch of requests that ends with this one."""
        self._waiting[each.flow] -= 1
        for pair, lead in list(self._lead.items()):
            if each.flow not in pair:
                continue
            lead[0] += each.size_bytes if pair[0] == each.flow else -each.size_bytes
            lead[1], lead[2] = min(lead[:2]), max(lead[0], lead[2])
            self.most_bytes = max(self.most_bytes, lead[2] - lead[1])
            assert lead[2] - lead[1] <= self._quantum_bytes + sum(self._largest[flow] for flow in pair)
            if not self._waiting[each.flow]:
                del self._lead[pair]


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one <= other else (other, one)


@given(
    st.integers(1, 500),
    st.integers(1, 2000),
    st.dictionaries(st.sampled_from("abcde"), st.lists(st.integers(0, 900), min_size=1, max_size=9), min_size=2),
    st.lists(st.integers(0, 6), min_size=1, max_size=40),
)
def test_while_two_flows_wait_neither_gets_ahead_by_more_than_a_quantum_and_the_largest_request_of_each(
    quantum_bytes: int, commit_bytes: int, sizes: dict[str, list[int]], arrivals: list[int]
) -> None:
    """Flows come and go: before each commit some of each flow's requests arrive, in a rhythm of its own."""
    queue: FairQueue[Waiting] = FairQueue(quantum_bytes)
    ahead = Ahead(quantum_bytes)
    numbers = dict.fromkeys(sizes, 0)
    for commit in range(3 * len(arrivals)):
        for turn, (flow, of_flow) in enumerate(sizes.items()):
            for _ in range(arrivals[(commit * (turn + 1) + turn) % len(arrivals)]):
                each = Waiting(flow, numbers[flow], of_flow[numbers[flow] % len(of_flow)])
                numbers[flow] += 1
                queue.put(each)
                ahead.put(each)
        for each in queue.take(commit_bytes):
            ahead.take(each)


@pytest.mark.parametrize("commit_bytes", [1, 100, 163, 164, 200, 1000])
@pytest.mark.parametrize("sizes", [((113, 296, 113), (47, 255, 9)), ((113, 296), (47, 255, 9)), ((300,), (20,))])
def test_a_commit_that_cuts_turns_short_favours_no_flow_in_the_long_run(
    sizes: tuple[tuple[int, ...], tuple[int, ...]], commit_bytes: int
) -> None:
    queue: FairQueue[Waiting] = FairQueue(QUANTUM)
    ahead = Ahead(QUANTUM)
    # More bytes of each than the commits below take.
    for flow, of_flow in zip("ab", sizes, strict=True):
        for number in range(506 * (commit_bytes + 600) * len(of_flow) // sum(of_flow)):
            each = Waiting(flow, number, of_flow[number % len(of_flow)])
            queue.put(each)
            ahead.put(each)
    for _ in range(506):
        for each in queue.take(commit_bytes):
            ahead.take(each)
    assert ahead.most_bytes > QUANTUM / 2


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
