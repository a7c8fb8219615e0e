"""A request becomes one a partition: the same items under the same headers, each trace in one, none larger."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.containers import wrap
from ingest.partition import TRACE_TAGS, by_trace, warm_up
from ingest.validate_walk import walk
from ingest.wire_schema import REQUESTS, SCHEMA
from schemas.log import Entry
from schemas.signals import Signal, topic
from tests.decoded import comparable, decoded_rows
from tests.otlp_requests import CHILD, Maker, children, is_item, items
from tests.strategies import message, record_of

SIGNALS = st.sampled_from([Signal.TRACES, Signal.LOGS])
RANDOM = st.integers(0, 2**32).map(random.Random)
UNKNOWN_FIELD = b"\xfa\x01\x03new"  # Field 31, which no OTLP message has.


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    warm_up()


def header(each: Any) -> bytes:
    """A container without what it contains, unknown fields included."""
    copy = type(each).FromString(each.SerializeToString())
    copy.ClearField(CHILD[copy.DESCRIPTOR.name])
    encoded: bytes = copy.SerializeToString(deterministic=True)
    return encoded


def flat(each: Any, above: tuple[bytes, ...] = ()) -> list[tuple[bytes, tuple[bytes, ...]]]:
    """(trace id, the item under the headers of all that it is in), in order."""
    if is_item(each):
        return [(each.trace_id if any(each.trace_id) else b"", (*above, each.SerializeToString()))]
    return [row for child in children(each) for row in flat(child, (*above, header(each)))]


def fields_of(each: Any, rng: random.Random, *, merged: bool) -> list[bytes]:
    """A message as wire fields, those of the containers below it in random order: any order is the same message."""
    if is_item(each):
        encoded = [each.SerializeToString()]
        if rng.random() < 0.3:
            # The last of several ids counts.
            tag = TRACE_TAGS[topic(Signal.TRACES if each.DESCRIPTOR.name == "Span" else Signal.LOGS)]
            encoded.insert(0, wrap(tag, rng.randbytes(16)))
            if not each.trace_id:
                encoded.append(wrap(tag, b""))
        return encoded
    tag = 0x0A if each.DESCRIPTOR.name.startswith("Export") else 0x12
    inside = [wrap(tag, b"".join(fields_of(child, rng, merged=merged))) for child in children(each)]
    around = [UNKNOWN_FIELD] if rng.random() < 0.2 else []
    bare = type(each).FromString(header(each))
    for field, value in bare.ListFields():
        if field.message_type is not None:
            # Validation refuses what would have to be merged; were it let in, it would still be split as it reads.
            parts = halves(value, rng) if merged else [value.SerializeToString()]
            around += [wrap(field.number << 3 | 2, part) for part in parts]
        else:
            around.append(wrap(field.number << 3 | 2, value.encode()))
    for part in around:
        inside.insert(rng.randint(0, len(inside)), part)
    return inside


def halves(value: Any, rng: random.Random) -> list[bytes]:
    """A resource or scope in two fields, which readers merge."""
    first, second = type(value)(), type(value)()
    for field, _ in value.ListFields():
        half = type(value).FromString(value.SerializeToString())
        for other, _ in value.ListFields():
            if other is not field:
                half.ClearField(other.name)
        rng.choice((first, second)).MergeFrom(half)
    return [first.SerializeToString(), second.SerializeToString()]


def awkward_body(signal: Signal, rng: random.Random, *, merged: bool = False) -> bytes:
    """One to four requests as one, with few trace ids, so that they meet in several resources and scopes."""
    ids = [rng.randbytes(16) for _ in range(rng.choice((1, 3, 20)))]
    body = b""
    for _ in range(rng.randint(1, 4)):
        made = REQUESTS[signal]()
        Maker(rng, repeats=rng.choice((2, 3))).fill(made)
        for item in items(made):
            item.trace_id = rng.choice([*ids, *ids, bytes(16), b""])
        body += b"".join(fields_of(made, rng, merged=merged))
    return body


def entry_of(signal: Signal, body: bytes) -> Entry:
    count = sum(1 for _ in items(REQUESTS[signal].FromString(body)))
    return Entry(topic(signal), body, "acme", 17, count, 3)


def collector_partition(trace_id: bytes, partitions: int) -> int:
    """As Sarama's hash partitioner and franz-go's of the same name place the key that a Collector gives a trace."""
    value = 2166136261
    for byte in trace_id.hex().encode():
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    signed = value - (1 << 32) if value >= 1 << 31 else value
    return abs(signed) % partitions


@given(SIGNALS, RANDOM, st.sampled_from((2, 3, 12, 1000)), st.booleans())
@settings(max_examples=150, deadline=None)
def test_parts_hold_the_same_items_under_the_same_headers_and_each_trace_is_in_one(
    signal: Signal, rng: random.Random, partitions: int, merged: bool
) -> None:
    body = awkward_body(signal, rng, merged=merged)
    entry = entry_of(signal, body)
    parts = by_trace([entry], lambda _topic: partitions)

    whole = flat(REQUESTS[signal].FromString(body))
    found = [(part.partition, *row) for part in parts for row in flat(REQUESTS[signal].FromString(part.value))]
    assert Counter(row for _, _, row in found) == Counter(row for _, row in whole)
    for trace_id in {trace_id for trace_id, _ in whole}:
        assert [row for _, each, row in found if each == trace_id] == [row for each, row in whole if each == trace_id]
    traced = {trace_id for trace_id, _ in whole if trace_id}
    assert {(each, partition) for partition, each, _ in found if each} == {
        (each, collector_partition(each, partitions)) for each in traced
    }
    rest = {partition for partition, each, _ in found if not each}
    first = next((each for each, _ in whole if each), None)
    assert rest <= {None if first is None else collector_partition(first, partitions)}

    assert sum(part.items for part in parts) == entry.items
    assert [part.rejected for part in parts] == [3] + [0] * (len(parts) - 1)
    assert {(part.topic, part.tenant, part.received_at_ns) for part in parts} == {(entry.topic, "acme", 17)}
    assert len({part.partition for part in parts}) == len(parts)
    for part in parts:
        assert len(part.value) <= len(body)
        assert sum(1 for _ in items(REQUESTS[signal].FromString(part.value))) == part.items
        assert merged or walk(part.value, SCHEMA.roots[signal], 0, 2**64 - 1).items == part.items


@given(SIGNALS, RANDOM)
@settings(max_examples=60, deadline=None)
def test_parts_decode_to_the_rows_of_the_whole(signal: Signal, rng: random.Random) -> None:
    body = b"".join(message(rng, signal).SerializeToString() for _ in range(rng.randint(1, 3)))
    parts = by_trace([entry_of(signal, body)], lambda _topic: 5)

    def rows(values: list[bytes]) -> Counter[tuple[str, str]]:
        made = comparable(decoded_rows(signal, [record_of(signal, value, at) for at, value in enumerate(values)]))
        return Counter((table, repr(row)) for table, found in made.items() for row in found)

    assert rows([part.value for part in parts]) == rows([body])


def test_a_request_of_one_trace_is_appended_as_the_bytes_that_it_is() -> None:
    made = REQUESTS[Signal.TRACES]()
    spans = made.resource_spans.add().scope_spans.add().spans
    for _ in range(10):
        spans.add(trace_id=b"0123456789abcdef", name="a")
    entry = Entry(topic(Signal.TRACES), made.SerializeToString(), items=10)
    (part,) = by_trace([entry], lambda _topic: 12)
    assert part.value is entry.value
    assert part.partition == collector_partition(b"0123456789abcdef", 12)


@pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS])
def test_a_request_without_a_trace_may_go_anywhere(signal: Signal) -> None:
    made = REQUESTS[signal]()
    for child in ((made.resource_spans if signal is Signal.TRACES else made.resource_logs).add(),):
        scope = (child.scope_spans if signal is Signal.TRACES else child.scope_logs).add()
        (scope.spans if signal is Signal.TRACES else scope.log_records).add(trace_id=bytes(16))
    entry = Entry(topic(signal), made.SerializeToString(), items=1)
    assert by_trace([entry], lambda _topic: 12) == [entry]


def test_data_points_and_topics_of_one_partition_stay_whole() -> None:
    points = Entry(topic(Signal.METRICS), b"\x0a\x00", items=0)
    spans = entry_of(Signal.TRACES, awkward_body(Signal.TRACES, random.Random(1)))
    assert by_trace([points, spans], lambda name: 1 if name == spans.topic else 12) == [points, spans]


def test_what_has_no_items_stays_with_the_first_trace() -> None:
    made = REQUESTS[Signal.TRACES]()
    made.resource_spans.add(schema_url="empty resource")
    group = made.resource_spans.add()
    group.scope_spans.add(schema_url="empty scope")
    spans = group.scope_spans.add().spans
    for number in range(40):
        spans.add(trace_id=number.to_bytes(16, "big"))
    body = made.SerializeToString() + UNKNOWN_FIELD
    parts = by_trace([entry_of(Signal.TRACES, body)], lambda _topic: 12)
    assert len(parts) > 5
    assert all(part.value.count(UNKNOWN_FIELD) == 1 for part in parts)
    first = collector_partition((1).to_bytes(16, "big"), 12)
    for text in (b"empty resource", b"empty scope"):
        assert [part.partition for part in parts if text in part.value] == [first]
