"""Batches of unusual shape: wide dictionaries, long lists, nothing at all, everything twice."""

from __future__ import annotations

import random
from typing import Any

import pytest

from ingest.wire_schema import REQUESTS
from processors import native
from processors.arena import Arena
from processors.bounded_arena import ArenaFullError, BoundedArena
from processors.decode import decode
from schemas.columns import BY_NAME, tables_of
from schemas.log import Record
from schemas.signals import Signal
from tests import decode_oracle, native_block
from tests.decoded import blocks, comparable, decoded_rows
from tests.otlp_requests import NOW_NS
from tests.strategies import record_of, records_from


def column(signal: Signal, records: list[Record], table: str, name: str) -> list[Any]:
    """The values of one column, through decoder and encoder."""
    arena = Arena()
    batch = decode(signal, records, arena).tables[table]
    at = BY_NAME[table].names.index(name)
    block = bytes(native.encode(batch.select([at]), [BY_NAME[table].columns[at]], arena))
    ((_, _, values),) = native_block.columns(block)
    return values


def spans(*messages: Any) -> Record:
    request = REQUESTS[Signal.TRACES]()
    request.resource_spans.add().scope_spans.add().spans.extend(messages)
    return record_of(Signal.TRACES, request.SerializeToString())


def span(**fields: Any) -> Any:
    span_type = REQUESTS[Signal.TRACES]().resource_spans.add().scope_spans.add().spans.add
    return span_type(**{"start_time_unix_nano": NOW_NS, "end_time_unix_nano": NOW_NS} | fields)


@pytest.mark.parametrize("names", [1, 254, 255, 256, 65_534, 65_535, 70_000])
def test_dictionaries_of_every_index_width_keep_their_order(names: int) -> None:
    """One, two and four bytes an index; 0 is the empty string."""
    expected = [f"operation {at}" for at in range(names)] + ["", "operation 0"]
    record = spans(*(span(name=name) for name in expected))
    assert column(Signal.TRACES, [record], "otel_traces", "SpanName") == expected


@pytest.mark.parametrize("distinct", [255, 256, 65_535, 65_536, 70_000])
def test_keys_and_resource_values_of_every_index_width_are_kept(distinct: int) -> None:
    request = REQUESTS[Signal.LOGS]()
    group = request.resource_logs.add()
    expected = [(f"{at:06}", f"value {at}") for at in range(distinct)]
    for key, value in reversed(expected):
        group.resource.attributes.add(key=key).value.string_value = value
    group.scope_logs.add().log_records.add(time_unix_nano=NOW_NS)
    (row,) = decoded_rows(Signal.LOGS, [record_of(Signal.LOGS, request.SerializeToString())])["otel_logs"]
    assert row["ResourceAttributes"] == expected


def test_thousands_of_attributes_events_and_links_in_one_span_are_kept_in_order() -> None:
    rng = random.Random(3)
    big = span(name="big")
    for at in rng.sample(range(5000), 5000):
        big.attributes.add(key=f"k{at}").value.int_value = at
    for at in range(3000):
        event = big.events.add(name=f"event {at % 7}", time_unix_nano=NOW_NS + at)
        event.attributes.add(key="b").value.int_value = at
        event.attributes.add(key="a").value.bool_value = True
        big.links.add(span_id=at.to_bytes(8, "big"), trace_state=f"state {at}")
    record = spans(span(name="before"), big, span(name="after"))
    expected = decode_oracle.rows(Signal.TRACES, [record])
    assert comparable(decoded_rows(Signal.TRACES, [record])) == comparable(expected)


def kvlist(keys: list[str]) -> Record:
    request = REQUESTS[Signal.LOGS]()
    body = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=NOW_NS).body
    for key in keys:
        body.kvlist_value.values.add(key=key).value.int_value = 1
    return record_of(Signal.LOGS, request.SerializeToString())


@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled", "equal"])
def test_a_map_of_a_hundred_thousand_entries_is_sorted(order: str) -> None:
    keys = [f"key {at:06}" for at in range(100_000)]
    given = {"sorted": keys, "reversed": keys[::-1], "shuffled": random.Random(1).sample(keys, len(keys)),
             "equal": ["same"] * len(keys)}[order]  # fmt: skip
    (row,) = decoded_rows(Signal.LOGS, [kvlist(given)])["otel_logs"]
    assert row["Body"] == "{" + ",".join(f'"{key}":1' for key in sorted(set(given))) + "}"


def test_strings_of_every_length_around_the_inline_bound_are_kept() -> None:
    texts = ["x" * size + "é" * (size % 3) for size in range(40)] + ["y" * 100_000]
    record = spans(*(span(trace_state=text) for text in texts))
    assert [row["TraceState"] for row in decoded_rows(Signal.TRACES, [record])["otel_traces"]] == texts


@pytest.mark.parametrize("signal", Signal)
def test_equal_batches_make_equal_bytes_whatever_the_memory_held_before(signal: Signal) -> None:
    """What the exactly-once protocol stands on: a batch that is repeated is the same block."""
    records = [record for seed in range(8) for record in records_from(seed, signal)]
    used, fresh = Arena(), Arena()
    for seed in range(20, 24):
        blocks(decode(signal, records_from(seed, signal), used), used)
    assert blocks(decode(signal, records, used), used) == blocks(decode(signal, records, fresh), fresh)


@pytest.mark.parametrize("table", BY_NAME)
def test_a_slice_of_rows_is_encoded_as_those_rows(table: str) -> None:
    signal = BY_NAME[table].signal
    records = [record for seed in range(30) for record in records_from(seed, signal)]
    arena = Arena()
    batch = decode(signal, records, arena).tables[table].slice(0, 60)
    columns = BY_NAME[table].columns
    whole = comparable({table: native_block.rows(bytes(native.encode(batch, columns, arena)))})[table]
    assert batch.num_rows > 10
    for first in range(0, batch.num_rows, 7):
        block = bytes(native.encode(batch.slice(first, 7), columns, arena))
        assert comparable({table: native_block.rows(block)})[table] == whole[first : first + 7]


def test_an_arena_with_a_bound_refuses_what_goes_over_it() -> None:
    arena = BoundedArena()
    arena.reset()
    with arena.bounded(1000):
        assert arena.empty(100, "u8").size == 100
        with pytest.raises(ArenaFullError, match="1001 bytes asked for, the bound is 1000"):
            arena.empty(201, "u1")
    assert arena.empty(10_000, "u1").size == 10_000
    arena.reset()
    with arena.bounded(1000):
        assert arena.empty(1000, "u1").size == 1000


def test_every_table_of_a_signal_comes_from_one_batch() -> None:
    for signal in Signal:
        records = [record for seed in range(8) for record in records_from(seed, signal)]
        assert set(decoded_rows(signal, records)) == {table.name for table in tables_of(signal)}
