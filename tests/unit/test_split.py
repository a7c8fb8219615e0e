"""A request over the record bound becomes several that say the same."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.split import split
from ingest.validate_walk import walk
from ingest.wire_schema import REQUESTS, SCHEMA
from schemas.errors import TooLargeError
from schemas.signals import Signal
from tests.otlp_requests import CHILD, children, encode, is_item, items, request

SIGNALS = st.sampled_from(list(Signal))
RANDOM = st.integers(0, 2**32).map(random.Random)


def header(message: Any) -> bytes:
    """A container without what it contains."""
    copy = type(message).FromString(message.SerializeToString())
    if copy.DESCRIPTOR.name == "Metric":
        kind = copy.WhichOneof("data")
        if kind:
            del getattr(copy, kind).data_points[:]
    else:
        copy.ClearField(CHILD[copy.DESCRIPTOR.name])
    encoded: bytes = copy.SerializeToString()
    return encoded


def flat(message: Any, above: tuple[bytes, ...] = ()) -> list[tuple[bytes, ...]]:
    """Each item with the headers of all that it is in, in order."""
    if is_item(message):
        return [(*above, message.SerializeToString())]
    return [row for child in children(message) for row in flat(child, (*above, header(message)))]


@given(SIGNALS, RANDOM, st.integers(1, 3), st.floats(0.01, 1.2))
@settings(max_examples=300, deadline=None)
def test_parts_hold_the_same_items_in_the_same_order_under_the_same_headers(
    signal: Signal, rng: random.Random, requests: int, share: float
) -> None:
    messages = [request(rng, signal, repeats=4) for _ in range(requests)]
    body = b"".join(encode(message) for message in messages)
    whole = REQUESTS[signal].FromString(body)
    count = len(list(items(whole)))
    max_bytes = int(len(body) * share) + 1
    try:
        parts = split(signal, body, count, max_bytes)
    except TooLargeError as error:
        assert f"one log record of {max_bytes} bytes" in str(error)  # noqa: PT017  both outcomes are right for some bounds
        return
    assert [row for part, _ in parts for row in flat(REQUESTS[signal].FromString(part))] == flat(whole)
    assert [number for _, number in parts] == [
        walk(part, SCHEMA.roots[signal], 0, 2**64 - 1).items for part, _ in parts
    ]
    assert sum(number for _, number in parts) == count
    assert max(len(part) for part, _ in parts) <= max_bytes


@given(SIGNALS, RANDOM)
@settings(max_examples=100, deadline=None)
def test_a_bound_that_holds_every_item_with_its_headers_is_always_enough(signal: Signal, rng: random.Random) -> None:
    message = request(rng, signal, repeats=3)
    for name in list(CHILD.values()):  # Containers without items are headers alone, which no bound here accounts for.
        if hasattr(message, name):
            del getattr(message, name)[1:]
    body = encode(message)
    rows = flat(message)
    if not rows or len(body) != len(encode(type(message).FromString(body))):
        return
    needed = max(sum(map(len, row)) for row in rows) + 6 * 6
    empty = sum(len(header(child)) for child in children(message)) if len(rows) == 0 else 0
    try:
        parts = split(signal, body, len(rows), needed + empty)
    except TooLargeError as error:
        assert "a header" in str(error)  # noqa: PT017  a scope or metric without items may be the largest thing
        return
    assert sum(number for _, number in parts) == len(rows)


def test_a_request_within_the_bound_is_not_copied() -> None:
    body = encode(request(random.Random(1), Signal.TRACES))
    ((part, count),) = split(Signal.TRACES, body, 7, len(body))
    assert part is body
    assert count == 7


def test_one_metric_with_many_points_is_split_by_its_points() -> None:
    message = REQUESTS[Signal.METRICS]()
    metric = message.resource_metrics.add().scope_metrics.add().metrics.add(name="requests", unit="1")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = 2
    for number in range(1000):
        metric.sum.data_points.add(as_int=number, time_unix_nano=number + 1)
    parts = split(Signal.METRICS, message.SerializeToString(), 1000, 2000)
    metrics = [
        REQUESTS[Signal.METRICS].FromString(part).resource_metrics[0].scope_metrics[0].metrics[0] for part, _ in parts
    ]
    assert [point.as_int for metric in metrics for point in metric.sum.data_points] == list(range(1000))
    assert {(metric.name, metric.unit, metric.sum.is_monotonic) for metric in metrics} == {("requests", "1", True)}
    assert len(parts) <= 14


def test_parts_are_filled_and_not_one_an_item() -> None:
    message = REQUESTS[Signal.TRACES]()
    spans = message.resource_spans.add().scope_spans.add().spans
    for number in range(512):
        spans.add(span_id=number.to_bytes(8, "big"), name="x" * 100)
    body = message.SerializeToString()
    parts = split(Signal.TRACES, body, 512, 10_000)
    assert len(parts) == -(-len(body) // 9_900)


@pytest.mark.parametrize(
    ("name", "words"), [("x" * 5000, "one of the spans at byte .* has 50"), ("x", "a header at byte .* has 30")]
)
def test_an_item_or_header_that_fits_in_no_record_is_refused_by_name_and_bound(name: str, words: str) -> None:
    message = REQUESTS[Signal.TRACES]()
    message.resource_spans.add().scope_spans.add().spans.add(name=name)
    message.resource_spans.add(schema_url="u" * 3000)
    with pytest.raises(TooLargeError, match=f"{words}.*one log record of 2000 bytes"):
        split(Signal.TRACES, message.SerializeToString(), 1, 2000)
