"""A tenant's rate: kept over any stretch of time, honest about when it may send again, none spends another's."""

from __future__ import annotations

import contextlib
import math
import threading

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ingest.settings import IngestSettings, TenantLimit
from ingest.throttle import Throttle
from schemas.errors import OverloadedError


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 5.0

    def __call__(self) -> float:
        return self.now


def throttle(clock: Clock, **settings: object) -> Throttle:
    return Throttle(IngestSettings(**{"tenant_burst_s": 2.0, **settings}), clock=clock)  # type: ignore[arg-type]


STEPS = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 5000), st.integers(0, 50)), min_size=1, max_size=60)


@given(st.floats(1, 1000), st.floats(0.1, 100), st.floats(0, 10), STEPS)
@example(bytes_per_s=100.0, items_per_s=10.0, burst_s=0.0, steps=[(0.0, 1, 0), (0.0, 1, 0)])
def test_over_any_stretch_of_time_a_tenant_sends_its_rate_a_burst_and_one_request_at_most(
    bytes_per_s: float, items_per_s: float, burst_s: float, steps: list[tuple[float, int, int]]
) -> None:
    clock = Clock()
    limits = throttle(clock, tenant_bytes_per_s=bytes_per_s, tenant_items_per_s=items_per_s, tenant_burst_s=burst_s)
    taken: list[tuple[float, int, int]] = []
    for wait_s, size_bytes, items in steps:
        clock.now += wait_s
        with contextlib.suppress(OverloadedError):
            limits.charge(limits.admit("acme", size_bytes), items)
            taken.append((clock.now, size_bytes, items))
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            stretch_s = taken[last][0] - taken[first][0]
            for column, rate in ((1, bytes_per_s), (2, items_per_s)):
                # The last one may be what puts the bucket into debt.
                sent = sum(each[column] for each in taken[first:last])
                assert sent <= rate * (stretch_s + burst_s) * (1 + 1e-9) + 1e-6


@given(st.floats(0.5, 1e7), st.integers(1, 10**8), st.floats(0, 100))
def test_after_exactly_the_time_that_it_was_told_a_tenant_is_taken(
    rate: float, size_bytes: int, start_s: float
) -> None:
    clock = Clock()
    clock.now = start_s
    limits = throttle(clock, tenant_bytes_per_s=rate, tenant_burst_s=0)
    limits.admit("acme", size_bytes)
    with pytest.raises(OverloadedError) as refused:
        limits.admit("acme", 1)
    # Honest in both directions: no later than needed but for the rounding.
    assert refused.value.retry_after_s == pytest.approx(size_bytes / rate, abs=0.0011)
    clock.now += refused.value.retry_after_s * (1 + 1e-12)
    limits.admit("acme", 1)


def test_a_tenant_that_keeps_to_its_rate_is_never_refused() -> None:
    clock = Clock()
    limits = throttle(clock, tenant_bytes_per_s=1000, tenant_items_per_s=10, tenant_burst_s=0)
    for _ in range(1000):
        limits.charge(limits.admit("steady", 100), 1)
        clock.now += 0.1 + 1e-9


def test_a_request_over_a_burst_is_taken_once_and_waited_for_by_the_next() -> None:
    clock = Clock()
    limits = throttle(clock, tenant_bytes_per_s=100)
    limits.admit("acme", 10_000)
    with pytest.raises(OverloadedError, match="tenant_bytes_per_s: at most 100 bytes a second") as refused:
        limits.admit("acme", 1)
    assert refused.value.retry_after_s == 98.0
    clock.now += 98
    limits.admit("acme", 1)


def test_items_are_limited_by_what_was_found_in_the_requests() -> None:
    clock = Clock()
    limits = throttle(clock, tenant_items_per_s=10)
    limits.charge(limits.admit("acme", 1), 50)
    with pytest.raises(OverloadedError, match="tenant_items_per_s: at most 10 items a second") as refused:
        limits.refuse_in_debt("acme")
    assert refused.value.retry_after_s == 3.0


def test_one_tenant_does_not_spend_what_another_has() -> None:
    clock = Clock()
    limits = throttle(clock, tenant_bytes_per_s=100)
    for _ in range(50):
        with contextlib.suppress(OverloadedError):
            limits.admit("flood", 1000)
    limits.admit("calm", 100)
    limits.admit("calm", 100)


def test_a_tenant_may_have_limits_of_its_own_or_none() -> None:
    clock = Clock()
    limits = throttle(
        clock,
        tenant_bytes_per_s=100,
        tenant_items_per_s=5,
        tenant_limits={"large": TenantLimit(bytes_per_s=1000), "free": TenantLimit(bytes_per_s=0, items_per_s=0)},
    )
    for _ in range(100):
        limits.charge(limits.admit("free", 10**9), 10**9)
    large = limits.admit("large", 3000)
    with pytest.raises(OverloadedError, match="1000 bytes") as refused:
        limits.admit("large", 0)
    assert refused.value.retry_after_s == 1.0
    clock.now += 1
    limits.charge(large, 20)
    with pytest.raises(OverloadedError, match="5 items"):
        limits.admit("large", 0)


def test_the_number_of_remembered_tenants_is_bounded_and_the_silent_one_gives_way() -> None:
    clock = Clock()
    limits = throttle(clock, tenant_bytes_per_s=100, tenants_remembered=3)
    limits.admit("busy", 1000)
    for number in range(1000):
        limits.admit(f"once-{number}", 1)
        with contextlib.suppress(OverloadedError):
            limits.admit("busy", 0)
        assert limits.tenants <= 3
    with pytest.raises(OverloadedError):
        limits.admit("busy", 0)


def test_there_is_no_throttle_where_no_limit_is_set() -> None:
    assert Throttle.of(IngestSettings()) is None
    assert Throttle.of(IngestSettings(tenant_limits={"a": TenantLimit(bytes_per_s=0)})) is None
    assert Throttle.of(IngestSettings(tenant_limits={"a": TenantLimit(items_per_s=1)})) is not None


def test_of_many_threads_no_more_are_taken_than_the_bucket_holds() -> None:
    limits = throttle(Clock(), tenant_bytes_per_s=1000)
    taken: list[int] = []

    def send() -> None:
        for _ in range(200):
            with contextlib.suppress(OverloadedError):
                limits.admit("acme", 10)
                taken.append(10)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(taken) == math.ceil(2000 / 10) * 10 + 10
