"""The circuit breaker as a state machine against a plain model of it, under a clock that the test moves."""

from __future__ import annotations

import itertools
import threading
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from schemas.breaker import BreakerPolicy, Circuit, CircuitBreaker

POLICY = BreakerPolicy(failures=3, open_s=1.0, open_max_s=4.0, probe_s=10.0)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def opened(clock: Clock, **policy: Any) -> CircuitBreaker:
    breaker = CircuitBreaker(BreakerPolicy(**{"failures": 1, "open_s": 1.0, "open_max_s": 4.0, **policy}), clock=clock)
    permit = breaker.acquire()
    assert permit is not None
    breaker.failed(permit)
    return breaker


class Breaker(RuleBasedStateMachine):
    """Calls begin and end in any order, time passes between them."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.seen: list[Circuit] = []
        self.breaker = CircuitBreaker(POLICY, clock=self.clock, on_change=self.seen.append)
        self.permits: list[int] = []
        # The model.
        self.state = Circuit.CLOSED
        self.current: set[int] = set()
        self.in_a_row = 0
        self.open_s = POLICY.open_s
        self.until = 0.0

    def become(self, state: Circuit) -> None:
        self.state, self.current, self.in_a_row = state, set(), 0
        if state is Circuit.OPEN:
            self.until = self.clock.now + self.open_s

    @rule(seconds=st.floats(0, 6))
    def time_passes(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def begin(self) -> None:
        permit = self.breaker.acquire()
        may = self.state is Circuit.CLOSED or self.clock.now >= self.until
        assert (permit is not None) == may
        if permit is None:
            return
        if self.state is not Circuit.CLOSED:
            self.become(Circuit.HALF_OPEN)
            self.until = self.clock.now + POLICY.probe_s
        self.current.add(permit)
        self.permits.append(permit)

    @precondition(lambda self: self.permits)
    @rule(data=st.data(), ended=st.sampled_from(["succeeded", "failed", "withdrawn"]))
    def end(self, data: st.DataObject, ended: str) -> None:
        permit = self.permits.pop(data.draw(st.integers(0, len(self.permits) - 1)))
        getattr(self.breaker, ended)(permit)
        if permit not in self.current:
            return
        if ended == "succeeded":
            self.in_a_row = 0
            if self.state is Circuit.HALF_OPEN:
                self.open_s = POLICY.open_s
                self.become(Circuit.CLOSED)
        elif ended == "failed":
            self.in_a_row += 1
            if self.state is Circuit.HALF_OPEN:
                self.open_s = min(self.open_s * 2, POLICY.open_max_s)
                self.become(Circuit.OPEN)
            elif self.in_a_row == POLICY.failures:
                self.become(Circuit.OPEN)
        elif self.state is Circuit.HALF_OPEN:
            self.become(Circuit.OPEN)
            self.until = self.clock.now

    @invariant()
    def it_is_in_the_state_of_the_model(self) -> None:
        assert self.breaker.state is self.state

    @invariant()
    def what_it_says_about_waiting_is_true(self) -> None:
        wait_s = self.breaker.retry_after_s()
        assert 0 <= wait_s <= POLICY.open_max_s
        if self.state is Circuit.CLOSED:
            assert wait_s == 0
        elif self.state is Circuit.OPEN:
            assert wait_s == max(0.0, self.until - self.clock.now)

    @invariant()
    def every_change_was_told_and_none_is_impossible(self) -> None:
        told = [Circuit.CLOSED, *self.seen]
        assert told[-1] is self.state
        allowed = {
            (Circuit.CLOSED, Circuit.OPEN),
            (Circuit.OPEN, Circuit.HALF_OPEN),
            (Circuit.HALF_OPEN, Circuit.OPEN),
            (Circuit.HALF_OPEN, Circuit.CLOSED),
            # A probe that nobody reported.
            (Circuit.HALF_OPEN, Circuit.HALF_OPEN),
        }
        assert set(itertools.pairwise(told)) <= allowed


TestBreaker = Breaker.TestCase


def test_one_probe_goes_when_the_time_is_over_and_no_other_until_it_ends() -> None:
    clock = Clock()
    breaker = opened(clock)
    assert breaker.acquire() is None
    assert breaker.retry_after_s() == 1.0
    clock.now += 1
    probe = breaker.acquire()
    assert probe is not None
    assert [breaker.acquire() for _ in range(5)] == [None] * 5
    breaker.succeeded(probe)
    assert breaker.acquire() is not None


def test_of_many_threads_that_ask_at_once_one_gets_the_probe() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 1
    gate = threading.Barrier(16)
    given: list[int | None] = []

    def ask() -> None:
        gate.wait()
        given.append(breaker.acquire())

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(permit is not None for permit in given) == 1


def test_each_probe_that_fails_doubles_the_time_up_to_the_bound_and_a_success_ends_that() -> None:
    clock = Clock()
    breaker = opened(clock)
    waits = []
    for _ in range(4):
        waits.append(breaker.retry_after_s())
        clock.now += waits[-1]
        permit = breaker.acquire()
        assert permit is not None
        breaker.failed(permit)
    assert waits == [1.0, 2.0, 4.0, 4.0]
    clock.now += 4
    probe = breaker.acquire()
    assert probe is not None
    breaker.succeeded(probe)
    again = breaker.acquire()
    assert again is not None
    breaker.failed(again)
    assert breaker.retry_after_s() == 1.0


def test_a_slow_call_from_before_it_opened_neither_closes_it_nor_opens_it_again() -> None:
    clock = Clock()
    breaker = CircuitBreaker(BreakerPolicy(failures=1), clock=clock)
    slow, slower, failing = breaker.acquire(), breaker.acquire(), breaker.acquire()
    assert slow is not None and slower is not None and failing is not None  # noqa: PT018
    breaker.failed(failing)
    breaker.succeeded(slow)
    assert breaker.state is Circuit.OPEN
    clock.now += 1
    probe = breaker.acquire()
    assert probe is not None
    breaker.failed(slower)
    breaker.succeeded(probe)
    assert breaker.state is Circuit.CLOSED


def test_a_probe_that_nobody_reports_does_not_keep_others_away_for_ever() -> None:
    clock = Clock()
    breaker = opened(clock, probe_s=10.0)
    clock.now += 1
    lost = breaker.acquire()
    assert lost is not None
    clock.now += 9.9
    assert breaker.acquire() is None
    clock.now += 0.1
    assert breaker.acquire() is not None
    breaker.failed(lost)
    assert breaker.state is Circuit.HALF_OPEN


@pytest.mark.parametrize("successes", range(3))
def test_failures_count_only_in_a_row(successes: int) -> None:
    breaker = CircuitBreaker(BreakerPolicy(failures=3), clock=Clock())
    for step in ["failed"] * 2 + ["succeeded"] * successes + ["failed"]:
        permit = breaker.acquire()
        assert permit is not None
        getattr(breaker, step)(permit)
    assert breaker.state is (Circuit.CLOSED if successes else Circuit.OPEN)
