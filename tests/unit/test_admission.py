"""Bounds on what is under way: refused over the bound, given back at the end, refused when stopping, fairly shared."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.admission import Admission, Ticket
from ingest.settings import IngestSettings
from schemas.errors import OverloadedError, RetryableError
from schemas.signals import Signal

MIB = 1024 * 1024


def _admission(**settings: float) -> Admission:
    whole = {"max_tenant_share": 1, "max_signal_share": 1}
    return Admission(IngestSettings(**{"retry_after_s": 3, **whole, **settings}))


def _enter(admission: Admission, tenant: str = "", signal: Signal = Signal.TRACES) -> Ticket:
    return admission.enter(signal, tenant)


def test_requests_over_the_bound_are_refused_with_a_hint_until_one_ends() -> None:
    admission = _admission(max_concurrent_requests=2)
    first = _enter(admission)
    _enter(admission)
    with pytest.raises(OverloadedError, match="max_concurrent_requests: at most 2") as refused:
        _enter(admission)
    assert refused.value.retry_after_s == 3
    first.close()
    assert admission.requests == 1
    _enter(admission).close()


def test_bytes_over_the_bound_are_refused_and_not_counted() -> None:
    admission = _admission(max_in_flight_bytes=192 * MIB)
    with _enter(admission) as ticket:
        ticket.grow(150 * MIB)
        with pytest.raises(OverloadedError, match="max_in_flight_bytes"):
            ticket.grow(50 * MIB)
        assert admission.in_flight_bytes == 150 * MIB
    assert admission.in_flight_bytes == 0


def test_a_closed_admission_lets_what_is_under_way_go_on_and_tells_others_to_retry() -> None:
    admission = _admission()
    ticket = _enter(admission)
    admission.close()
    ticket.grow(10)
    with pytest.raises(RetryableError, match="stopping"):
        _enter(admission)
    ticket.close()
    assert (admission.requests, admission.in_flight_bytes) == (0, 0)


@given(st.lists(st.one_of(st.just("enter"), st.just("leave"), st.integers(0, 80 * MIB))))
def test_counts_agree_with_the_open_tickets_after_any_sequence(steps: list[str | int]) -> None:
    admission = _admission(max_concurrent_requests=3, max_in_flight_bytes=192 * MIB)
    tickets: list[Ticket] = []
    for step in steps:
        try:
            if step == "enter":
                tickets.append(_enter(admission))
            elif step == "leave" and tickets:
                tickets.pop().close()
            elif isinstance(step, int) and tickets:
                tickets[-1].grow(step)
        except OverloadedError:
            pass
        assert admission.requests == len(tickets) <= 3
        assert admission.in_flight_bytes == sum(ticket.size_bytes for ticket in tickets) <= 192 * MIB


@pytest.mark.parametrize(
    "settings",
    [{"max_decompressed_bytes": 256 * MIB}, {"max_json_memory_bytes": 256 * MIB}, {"max_in_flight_bytes": MIB}],
)
def test_a_bound_that_no_request_could_pass_alone_is_refused_at_start(settings: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="max_in_flight_bytes must hold one request of"):
        IngestSettings(**settings)


@pytest.mark.parametrize(("kind", "tenant", "signal"), [("tenant", "flood", None), ("signal", None, Signal.LOGS)])
def test_one_that_floods_is_refused_at_its_share_and_others_still_find_room(
    kind: str, tenant: str | None, signal: Signal | None
) -> None:
    admission = _admission(max_concurrent_requests=100, **{f"max_{kind}_share": 0.75})
    for number in range(75):
        _enter(admission, tenant or str(number), signal or list(Signal)[number % 3])
    with pytest.raises(OverloadedError, match=f"max_{kind}_share: one {kind} may hold 0.75 .* holds 75 requests"):
        _enter(admission, tenant or "76", signal or Signal.TRACES)
    others = [_enter(admission, "calm", Signal.TRACES) for _ in range(10)]
    assert len(others) == 10


def test_however_many_flood_a_newcomer_finds_room() -> None:
    admission = _admission(max_concurrent_requests=256, max_tenant_share=0.75)
    for _ in range(300):
        for tenant in range(12):
            with contextlib.suppress(OverloadedError):
                _enter(admission, f"flood-{tenant}")
    with _enter(admission, "calm") as ticket, _enter(admission, "calm"):
        ticket.grow(MIB)
    assert admission.tenants == 12


def test_by_default_a_tenant_that_floods_one_signal_leaves_room_in_that_signal() -> None:
    admission = Admission(IngestSettings())
    for _ in range(300):
        with contextlib.suppress(OverloadedError):
            _enter(admission, "flood", Signal.LOGS)
    for tenant in range(20):
        _enter(admission, f"calm-{tenant}", Signal.LOGS)
        _enter(admission, f"calm-{tenant}", Signal.TRACES)


def test_bytes_are_shared_as_requests_are() -> None:
    admission = _admission(max_in_flight_bytes=200 * MIB, max_tenant_share=0.75)
    tickets = [_enter(admission, "flood") for _ in range(20)]
    for ticket in tickets[:15]:
        ticket.grow(10 * MIB)
    with pytest.raises(OverloadedError, match=f"max_tenant_share: .* holds {150 * MIB} bytes"):
        tickets[15].grow(10 * MIB)
    calm = [_enter(admission, "calm") for _ in range(2)]
    calm[0].grow(20 * MIB)
    calm[1].grow(10 * MIB)
    assert admission.in_flight_bytes == 180 * MIB


def test_the_only_request_of_a_tenant_may_be_as_large_as_the_bound() -> None:
    admission = _admission(max_in_flight_bytes=192 * MIB, max_tenant_share=0.1, max_signal_share=0.1)
    with _enter(admission, "one") as ticket:
        ticket.grow(192 * MIB)
    assert (admission.in_flight_bytes, admission.tenants) == (0, 0)


@given(
    st.floats(0.05, 1),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(list(Signal)), st.integers(-1, 60 * MIB)), max_size=60),
)
def test_whatever_is_held_no_tenant_or_signal_is_over_its_share_of_what_is_free(
    share: float, steps: list[tuple[str, Signal, int]]
) -> None:
    admission = _admission(
        max_concurrent_requests=16, max_in_flight_bytes=192 * MIB, max_tenant_share=share, max_signal_share=share
    )
    held: list[tuple[Ticket, str, Signal]] = []
    for tenant, signal, size_bytes in steps:
        if size_bytes < 0:
            if held:
                held.pop(0)[0].close()
            continue
        with contextlib.suppress(OverloadedError):
            ticket = admission.enter(signal, tenant)
            held.append((ticket, tenant, signal))
            ticket.grow(size_bytes)
            for key in (tenant, signal):
                of_key = [each for each, *keys in held if key in keys]
                free = 192 * MIB - admission.in_flight_bytes
                total = sum(each.size_bytes for each in of_key)
                assert len(of_key) == 1 or total <= share * (total + free) + 1
    for ticket, *_ in held:
        ticket.close()
    assert (admission.requests, admission.in_flight_bytes, admission.tenants) == (0, 0, 0)
