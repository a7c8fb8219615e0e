"""Bytes that are no OTLP: each bad record becomes one fault that says where, and the others decode all the same."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.wire_schema import REQUESTS
from processors.arena import Arena
from processors.decode import Decoded, decode
from schemas.log import Record
from schemas.signals import Signal
from tests import decode_oracle, native_block
from tests.decoded import blocks, comparable
from tests.otlp_validation import field, traces, varint
from tests.strategies import SEEDS, SIGNALS, message, record_of

GOOD = traces(field(5, b"good"))


def decoded(signal: Signal, values: list[bytes]) -> tuple[Decoded, dict[str, bytes]]:
    arena = Arena()
    records = [record_of(signal, value, offset) for offset, value in enumerate(values)]
    result = decode(signal, records, arena)
    return result, blocks(result, arena)


def faults(signal: Signal, values: list[bytes]) -> list[tuple[int, int]]:
    return [(fault.record, fault.at) for fault in decoded(signal, values)[0].faults]


def logs(*records: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, record) for record in records)))


def metric(data_field: int, point: bytes) -> bytes:
    return field(1, field(2, field(2, field(data_field, field(1, point)))))


def nested_array(levels: int) -> bytes:
    value = b""
    for _ in range(levels):
        value = field(5, field(1, value)) if value else field(5, b"")
    return value


def fixed64(number: int, value: int) -> bytes:
    return varint(number << 3 | 1) + value.to_bytes(8, "little")


BROKEN = {
    "a truncated tag": (Signal.TRACES, b"\x8a"),
    "a length past the end": (Signal.TRACES, b"\x0a\x05\x12"),
    "a length of 2**63": (Signal.TRACES, b"\x0a" + varint(2**63) + b"\x00"),
    "a length of 2**64 - 1": (Signal.TRACES, b"\x0a" + varint(2**64 - 1) + b"\x00"),
    "a varint of eleven bytes": (Signal.TRACES, b"\x10" + b"\xff" * 10 + b"\x01"),
    "field number 0": (Signal.TRACES, b"\x02\x00"),
    "a group": (Signal.TRACES, b"\x0b\x0c"),
    "wire type 7": (Signal.TRACES, b"\x0f\x00"),
    "a trace id of 15 bytes": (Signal.TRACES, traces(field(1, bytes(15)))),
    "a trace id of 17 bytes": (Signal.TRACES, traces(field(1, bytes(17)))),
    "a span id of 7 bytes": (Signal.TRACES, traces(field(2, bytes(7)))),
    "a parent id of 9 bytes": (Signal.TRACES, traces(field(4, bytes(9)))),
    "a link's trace id of 8 bytes": (Signal.TRACES, traces(field(13, field(1, bytes(8))))),
    "a log's span id of 1 byte": (Signal.LOGS, logs(field(10, b"x"))),
    "a log's trace id of 32 bytes": (Signal.LOGS, logs(field(9, bytes(32)))),
    "an exemplar's trace id of 3 bytes": (Signal.METRICS, metric(5, field(5, field(5, b"abc")))),
    "a half of a fixed64": (Signal.TRACES, traces(b"\x39\x01\x02\x03\x04")),
    "a half of a fixed32": (Signal.LOGS, logs(b"\x45\x01\x02")),
    "packed counts of 7 bytes": (Signal.METRICS, metric(9, field(6, bytes(7)))),
    "a packed varint cut short": (Signal.METRICS, metric(10, field(8, field(2, b"\x01\x80")))),
    "an attribute that ends inside of its key": (Signal.TRACES, traces(field(9, b"\x0a\x05ab"))),
    "a value that ends inside of its double": (Signal.TRACES, traces(field(9, field(2, b"\x21\x00")))),
    "an array whose element is longer than it": (Signal.LOGS, logs(field(5, field(5, b"\x0a\x7f")))),
    "a map whose entry is longer than it": (Signal.LOGS, logs(field(5, field(6, b"\x0a\x7f")))),
    "arrays of 33 levels": (Signal.LOGS, logs(field(5, nested_array(33)))),
    "arrays of 1000 levels": (Signal.LOGS, logs(field(5, nested_array(1000)))),
    "a resource attribute that lies": (
        Signal.LOGS,
        field(1, field(1, field(1, b"\x12\x09")) + field(2, field(2, b""))),
    ),
    "a scope name that lies": (Signal.LOGS, field(1, field(2, field(1, b"\x0a\x09") + field(2, b"")))),
    "a status that lies": (Signal.TRACES, traces(field(15, b"\x12\x09"))),
    "an event that lies": (Signal.TRACES, traces(field(11, b"\x12\x09"))),
    "a quantile that lies": (Signal.METRICS, metric(11, field(6, b"\x09\x00"))),
    "a metric name that lies": (Signal.METRICS, field(1, field(2, field(2, b"\x0a\x09x")))),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_bytes_are_a_fault_that_names_the_record_and_a_byte_inside_of_it(case: str) -> None:
    signal, value = BROKEN[case]
    good = {Signal.TRACES: GOOD, Signal.LOGS: logs(b""), Signal.METRICS: metric(5, b"")}[signal]
    result, _ = decoded(signal, [good, value, good])
    assert [(fault.record, 0 <= fault.at < len(value)) for fault in result.faults] == [(1, True)]
    assert result.items.tolist() == [1, 0, 1]


def test_a_fault_names_the_byte_where_the_broken_field_begins() -> None:
    span = field(5, b"name") + field(1, bytes(15))
    value = field(7, b"unknown") + traces(span)
    assert faults(Signal.TRACES, [GOOD, value]) == [(1, value.index(field(1, bytes(15))))]


def test_thirty_two_levels_of_arrays_are_no_fault() -> None:
    assert faults(Signal.LOGS, [logs(field(5, nested_array(32)))]) == []


def test_unknown_fields_of_every_wire_type_are_skipped() -> None:
    unknown = field(100, b"x") + field(101, 7) + fixed64(102, 1) + varint(103 << 3 | 5) + bytes(4)
    value = unknown + field(1, unknown + field(1, unknown) + field(2, unknown + field(1, unknown) + field(2, unknown)))
    for signal in (Signal.TRACES, Signal.LOGS):
        assert decoded(signal, [value])[0].items.tolist() == [1]
    assert faults(Signal.METRICS, [value]) == []


def test_fields_in_any_order_and_a_resource_after_its_items_decode_alike() -> None:
    request = REQUESTS[Signal.TRACES]()
    group = request.resource_spans.add(schema_url="late")
    group.resource.attributes.add(key="service.name").value.string_value = "svc"
    scope = group.scope_spans.add()
    scope.scope.name = "scope"
    scope.spans.add(name="a")
    usual = request.SerializeToString()
    resource, scope_name = field(1, group.resource.SerializeToString()), field(1, scope.scope.SerializeToString())
    turned = field(
        1, field(3, b"late") + field(2, field(2, scope.spans[0].SerializeToString()) + scope_name) + resource
    )
    assert REQUESTS[Signal.TRACES].FromString(turned) == request
    assert decoded(Signal.TRACES, [turned])[1] == decoded(Signal.TRACES, [usual])[1]


@given(SIGNALS, SEEDS)
@settings(max_examples=25, deadline=None)
def test_a_request_cut_at_any_byte_is_a_fault_or_ends_between_two_resources(signal: Signal, seed: int) -> None:
    value = message(random.Random(seed), signal, 2).SerializeToString()[:3000]
    cuts = [value[:size] for size in range(len(value))]
    result, bodies = decoded(signal, cuts)
    bad = {fault.record for fault in result.faults}
    good = [record_of(signal, cut, size) for size, cut in enumerate(cuts) if size not in bad]
    for record in good:
        REQUESTS[signal].FromString(record.value)
    rows = {name: native_block.rows(body) for name, body in bodies.items()}
    assert comparable(rows) == comparable(decode_oracle.rows(signal, good))


@given(SIGNALS, SEEDS, st.lists(st.binary(max_size=60), min_size=1, max_size=4))
@settings(max_examples=100, deadline=None)
def test_bad_records_change_nothing_about_the_others(signal: Signal, seed: int, noise: list[bytes]) -> None:
    rng = random.Random(seed)
    good = [message(rng, signal, 2).SerializeToString() for _ in range(3)]
    result, bodies = decoded(signal, good)
    bad = [field(1, field(2, b"\x12\x7f")) + value for value in noise]
    mixed = good[:1] + bad[:1] + good[1:2] + bad[1:] + good[2:]
    other, other_bodies = decoded(signal, mixed)
    assert {fault.record for fault in other.faults} == {at for at, value in enumerate(mixed) if value in bad}
    assert other.items[[mixed.index(value) for value in good]].tolist() == result.items.tolist()
    assert other_bodies == bodies


def test_no_records_and_empty_records_give_no_rows() -> None:
    for signal in Signal:
        assert (decoded(signal, [])[1], decoded(signal, [b"", b""])[1]) == ({}, {})


def test_items_are_counted_for_each_record_in_every_table() -> None:
    value = metric(5, b"") + metric(7, b"") + metric(9, b"") + metric(10, b"") + metric(11, b"")
    result, _ = decoded(Signal.METRICS, [value, metric(5, b""), b""])
    assert result.items.tolist() == [5, 1, 0]
    assert {name: rows.tolist() for name, rows in result.record_of_row.items()} == {
        "otel_metrics_gauge": [0, 1], "otel_metrics_sum": [0], "otel_metrics_histogram": [0],
        "otel_metrics_exponential_histogram": [0], "otel_metrics_summary": [0],
    }  # fmt: skip


def test_metric_data_in_two_parts_loses_no_point() -> None:
    twice = field(1, field(2, field(2, field(1, b"m") + field(5, field(1, b"")) + field(5, field(1, b"")))))
    result, bodies = decoded(Signal.METRICS, [twice])
    assert result.items.tolist() == [2]
    assert [row["MetricName"] for row in native_block.rows(bodies["otel_metrics_gauge"])] == ["m", "m"]


def test_a_fault_in_the_points_of_one_kind_takes_the_whole_record() -> None:
    bad = metric(5, b"") + metric(11, field(6, b"\x09\x00"))
    record = Record("otlp_metrics", 0, 0, bad, "", 1, None)
    result = decode(Signal.METRICS, [record], Arena())
    assert (len(result.faults), result.tables, result.items.tolist()) == (1, {}, [0])
