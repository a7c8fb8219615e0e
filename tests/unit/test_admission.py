"""Bounds on what is under way: refused over the bound, given back at the end, refused when stopping."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ingest.admission import Admission, Ticket
from ingest.settings import IngestSettings
from schemas.errors import OverloadedError, RetryableError

MIB = 1024 * 1024


def _admission(**settings: int) -> Admission:
    return Admission(IngestSettings(**{"retry_after_s": 3, **settings}))


def test_requests_over_the_bound_are_refused_with_a_hint_until_one_ends() -> None:
    admission = _admission(max_concurrent_requests=2)
    first = admission.enter()
    admission.enter()
    with pytest.raises(OverloadedError, match="max_concurrent_requests: at most 2") as refused:
        admission.enter()
    assert refused.value.retry_after_s == 3
    first.close()
    assert admission.requests == 1
    admission.enter().close()


def test_bytes_over_the_bound_are_refused_and_not_counted() -> None:
    admission = _admission(max_in_flight_bytes=192 * MIB)
    with admission.enter() as ticket:
        ticket.grow(150 * MIB)
        with pytest.raises(OverloadedError, match="max_in_flight_bytes"):
            ticket.grow(50 * MIB)
        assert admission.in_flight_bytes == 150 * MIB
    assert admission.in_flight_bytes == 0


def test_a_closed_admission_lets_what_is_under_way_go_on_and_tells_others_to_retry() -> None:
    admission = _admission()
    ticket = admission.enter()
    admission.close()
    ticket.grow(10)
    with pytest.raises(RetryableError, match="stopping"):
        admission.enter()
    ticket.close()
    assert (admission.requests, admission.in_flight_bytes) == (0, 0)


@given(st.lists(st.one_of(st.just("enter"), st.just("leave"), st.integers(0, 80 * MIB))))
def test_counts_agree_with_the_open_tickets_after_any_sequence(steps: list[str | int]) -> None:
    admission = _admission(max_concurrent_requests=3, max_in_flight_bytes=192 * MIB)
    tickets: list[Ticket] = []
    for step in steps:
        try:
            if step == "enter":
                tickets.append(admission.enter())
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
