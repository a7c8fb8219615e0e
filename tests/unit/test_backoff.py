"""Waits between attempts: bounded, spread, as long as the peer asked for, and longer once the budget is spent."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from schemas.backoff import Backoff, BackoffPolicy

POLICIES = st.builds(
    lambda first_s, times, share, retries: BackoffPolicy(first_s, first_s * times, share, retries),
    st.floats(0.001, 10),
    st.floats(1, 1000),
    st.floats(0, 1),
    st.floats(0, 50),
)
STEPS = st.lists(st.one_of(st.just("success"), st.floats(0, 100)), max_size=80)


@given(POLICIES, STEPS, st.randoms(use_true_random=False))
def test_every_wait_is_within_the_bounds_and_at_least_what_the_peer_asked_for(
    policy: BackoffPolicy, steps: list[str | float], rng: random.Random
) -> None:
    backoff = Backoff(policy, uniform=rng.uniform)
    for step in steps:
        if isinstance(step, str):
            backoff.succeeded()
            continue
        wait_s = backoff.failed(step)
        assert min(step, policy.max_s) <= wait_s + 1e-9
        assert 0.01 <= wait_s <= max(policy.max_s, 0.01) * (1 + 1e-9)
        assert 0 <= backoff.budget_left <= policy.budget_retries


@given(POLICIES, STEPS)
def test_retries_at_the_usual_pace_are_no_more_than_the_budget_and_what_successes_earned(
    policy: BackoffPolicy, steps: list[str | float]
) -> None:
    spent = [0]

    def count() -> None:
        spent[0] += 1

    backoff = Backoff(policy, on_spent=count)
    failures = successes = 0
    for step in steps:
        if isinstance(step, str):
            successes += 1
            backoff.succeeded()
        else:
            failures += 1
            backoff.failed(step)
    assert failures - spent[0] <= policy.budget_retries + policy.budget_share * successes + 1e-6


@given(POLICIES, st.integers(1, 40))
def test_without_a_hint_a_wait_may_be_anything_from_nothing_to_a_bound_that_doubles(
    policy: BackoffPolicy, attempts: int
) -> None:
    asked: list[tuple[float, float]] = []

    def most(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    backoff = Backoff(BackoffPolicy(policy.first_s, policy.max_s, 0, attempts), uniform=most)
    for _ in range(attempts):
        backoff.failed()
    assert asked == [(0.0, min(policy.max_s, policy.first_s * 2**n)) for n in range(attempts)]


def test_once_the_budget_is_spent_waits_are_of_the_longest_and_each_is_told() -> None:
    told: list[int] = []
    backoff = Backoff(BackoffPolicy(0.1, 20.0, 0.5, 2), uniform=lambda low, _high: low, on_spent=lambda: told.append(1))
    assert [backoff.failed() for _ in range(4)] == [0.01, 0.01, 10.0, 10.0]
    assert len(told) == 2
    for _ in range(2):
        backoff.succeeded()
    assert (backoff.attempt, backoff.budget_left) == (0, 1.0)
    assert backoff.failed() == 0.01


def test_attempts_of_a_year_do_not_overflow() -> None:
    backoff = Backoff(BackoffPolicy(0.2, 30.0, 0, 10_000_000))
    backoff.attempt = 5_000_000
    assert backoff.failed() <= 30.0
