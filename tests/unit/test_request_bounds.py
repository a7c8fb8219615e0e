"""What one request may hold: counted as the protobuf library counts, refused by name, bound and number."""

from __future__ import annotations

import random
from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import split, validate_walk
from ingest.containers import cut
from ingest.json import encode_request
from ingest.validate import validate, warm_up
from ingest.validate_kernel import compiled_walk
from ingest.wire_schema import REQUESTS, SCHEMA
from schemas.errors import TooLargeError
from schemas.signals import Signal
from tests.faults.bombs import protobuf
from tests.otlp_requests import WINDOW, encode, items, request
from tests.otlp_validation import both, field, traces

SIGNALS = st.sampled_from(list(Signal))
RANDOM = st.integers(0, 2**32).map(random.Random)
WALKS = [compiled_walk, validate_walk.walk]


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    warm_up()
    split.warm_up()


def elements(message: Any) -> int:
    """Submessages, but for attributes of four bytes or more and the values of attributes."""
    count = 0
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        for child in value if descriptor.is_repeated else [value]:
            assert isinstance(child, Message)
            if child.DESCRIPTOR.name == "KeyValue":
                count += child.ByteSize() < 4
            else:
                count += message.DESCRIPTOR.name != "KeyValue"
            count += elements(child)
    return count


@given(SIGNALS, RANDOM)
@settings(max_examples=150, deadline=None)
def test_elements_are_the_messages_that_the_protobuf_library_finds(signal: Signal, rng: random.Random) -> None:
    message = request(rng, signal, repeats=4)
    found = both(signal, encode(message))
    assert isinstance(found, validate_walk.Scan)
    assert found.elements == elements(message)


@given(SIGNALS, RANDOM, st.floats(0, 1.1), st.floats(0, 1.1))
@settings(max_examples=150, deadline=None)
def test_a_request_passes_when_and_only_when_it_is_within_both_bounds(
    signal: Signal, rng: random.Random, share: float, other: float
) -> None:
    message = request(rng, signal, repeats=4)
    body = encode(message)
    count, inside = len(list(items(message))), elements(message)
    bounds = int(count * share), int(inside * other)
    answers: list[Any] = []
    for walk in WALKS:
        try:
            answers.append(walk(body, SCHEMA.roots[signal], 0, 2**64 - 1, *bounds))
        except validate_walk.BrokenError as error:
            answers.append(error.broken)
    assert answers[0] == answers[1]
    assert isinstance(answers[0], validate_walk.Scan) == (count <= bounds[0] and inside <= bounds[1])


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ({"max_items": 2}, "max_request_items: at most 2 spans a request; received more, 2 in the first 8 of 10 bytes"),
        ({"max_elements": 4}, "max_request_elements: at most 4 messages inside a request; received more, 4 in the"),
    ],
)
def test_a_refusal_names_the_setting_the_bound_and_what_was_received(bounds: dict[str, int], words: str) -> None:
    with pytest.raises(TooLargeError, match=words):
        validate(Signal.TRACES, traces(b"", b"", b""), **WINDOW, **bounds)


def test_items_in_json_are_counted_before_they_are_translated() -> None:
    body = b'{"resourceSpans":[{"scopeSpans":[{"spans":[{},{}]},{"spans":[{"kind":"wrong"}]}]}]}'
    with pytest.raises(TooLargeError, match="max_request_items: at most 2 spans a request; received 3 or more"):
        encode_request(Signal.TRACES, body, max_depth=100, max_items=2)


@given(SIGNALS, RANDOM, st.sampled_from([0.01, 0.05, 0.3]))
@settings(max_examples=200, deadline=None)
def test_what_is_cut_out_compiled_leaves_what_is_cut_out_in_python(
    signal: Signal, rng: random.Random, faults: float
) -> None:
    body = encode(request(rng, signal, faults=faults, repeats=4))
    scan = both(signal, body)
    assert isinstance(scan, validate_walk.Scan)
    if scan.cuts:
        left = REQUESTS[signal].FromString(split.without(signal, body, scan.cuts))
        assert left == REQUESTS[signal].FromString(cut(signal, body, scan.cuts))


@given(SIGNALS, RANDOM, st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_no_part_holds_more_items_than_a_record_may(signal: Signal, rng: random.Random, most: int) -> None:
    message = request(rng, signal, repeats=4)
    body = encode(message)
    count = len(list(items(message)))
    parts = split.split(signal, body, count, 1 << 30, max_items=most)
    assert max((held for _, held in parts), default=0) <= most or count <= most
    assert sum(held for _, held in parts) == count
    assert [len(list(items(REQUESTS[signal].FromString(part)))) for part, _ in parts] == [held for _, held in parts]


def test_a_header_that_the_parts_would_repeat_into_terabytes_is_refused() -> None:
    bomb = protobuf()["a header of nearly a record"]
    count = validate(bomb.signal, bomb.body, **WINDOW).items
    with pytest.raises(TooLargeError, match=r"repeated in each of .* does not fit in one log record of 4194304"):
        split.split(bomb.signal, bomb.body, count, 4 << 20)


def test_memory_is_charged_before_it_is_taken() -> None:
    body = field(1, field(2, b"".join(field(2, field(5, b"n" * 900)) for _ in range(1000))))
    charged: list[int] = []
    parts = split.split(Signal.TRACES, body, 1000, 64 * 1024, charge=charged.append)
    assert sum(charged) >= sum(len(part) for part, _ in parts)

    def refuse(_size_bytes: int) -> None:
        raise TooLargeError("no")

    with pytest.raises(TooLargeError, match="no"):
        split.split(Signal.TRACES, body, 1000, 64 * 1024, charge=refuse)
