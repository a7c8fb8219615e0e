"""The circuit in front of the store: no insert is tried while it is open, one when its time is over."""

from __future__ import annotations

import pytest
from clickhouse_connect.driver.client import Client

from processors.insert import StoreInserter
from processors.store_circuit import guarded
from schemas.breaker import BreakerPolicy, Circuit, CircuitBreaker
from schemas.errors import PermanentError, StoreUnavailableError


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_store_that_is_away_is_asked_no_more_than_the_circuit_lets_through() -> None:
    clock = Clock()
    asked: list[float] = []

    def connect() -> Client:
        asked.append(clock.now)
        raise ConnectionRefusedError(111, "refused")

    store = StoreInserter(connect, "otel")
    store.breaker = CircuitBreaker(BreakerPolicy(failures=3, open_s=1, open_max_s=4), clock=clock)
    for _ in range(200):
        with pytest.raises(StoreUnavailableError) as refused:
            store.rows("ledger", [{"Received": 1}], "token")
        clock.now += 0.125
    # Three failures in a row, then one after 1 s, 2 s and every 4 s more.
    assert asked == [0.0, 0.125, 0.25, 1.25, 3.25, 7.25, 11.25, 15.25, 19.25, 23.25]
    assert str(refused.value).startswith("circuit: the store is not asked for")
    assert 0 < refused.value.retry_after_s <= 4


def test_a_refusal_of_the_bytes_shows_that_the_store_is_there() -> None:
    clock = Clock()
    breaker = CircuitBreaker(BreakerPolicy(failures=1), clock=clock)
    with pytest.raises(StoreUnavailableError), guarded(breaker):
        raise StoreUnavailableError("store: away")
    assert breaker.state is Circuit.OPEN
    clock.now += 1
    with pytest.raises(PermanentError), guarded(breaker):
        raise PermanentError("store: TYPE_MISMATCH")
    assert breaker.state is Circuit.CLOSED


def test_a_defect_of_ours_says_nothing_about_the_store() -> None:
    clock = Clock()
    breaker = CircuitBreaker(BreakerPolicy(failures=1), clock=clock)
    with pytest.raises(KeyError), guarded(breaker):
        raise KeyError("ours")
    assert breaker.state is Circuit.CLOSED
    with pytest.raises(StoreUnavailableError), guarded(breaker):
        raise StoreUnavailableError("store: away")
    clock.now += 1
    with pytest.raises(KeyError), guarded(breaker):
        raise KeyError("ours")
    with guarded(breaker):
        pass
    assert breaker.state is Circuit.CLOSED


def test_without_a_breaker_every_call_is_made() -> None:
    with pytest.raises(StoreUnavailableError), guarded(None):
        raise StoreUnavailableError("store: away")
