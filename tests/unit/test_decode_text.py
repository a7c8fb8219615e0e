"""Values as text: numbers as ECMAScript writes them, JSON as Go's encoder writes it."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from schemas.signals import Signal
from tests import decode_oracle
from tests.decoded import decoded_rows
from tests.strategies import record_of

BITS = st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0])
POWERS_OF_TWO = st.integers(-1074, 1023).map(lambda power: math.ldexp(1.0, power))
DECIMALS = st.tuples(st.integers(-(10**17), 10**17), st.integers(-330, 300)).map(lambda d: float(f"{d[0]}e{d[1]}"))
DOUBLES = (st.floats(width=64) | BITS | POWERS_OF_TWO | DECIMALS).filter(math.isfinite)


def bodies(values: list[Any]) -> list[str]:
    """Each AnyValue as the text of a log record's body."""
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for value in values:
        scope.log_records.add().body.CopyFrom(value)
    rows = decoded_rows(Signal.LOGS, [record_of(Signal.LOGS, request.SerializeToString())])
    return [row["Body"] for row in rows["otel_logs"]]


def body(value: Any) -> str:
    return bodies([value])[0]


def double_texts(values: list[float]) -> list[str]:
    return bodies([AnyValue(double_value=value) for value in values])


@given(st.lists(DOUBLES, min_size=1, max_size=60))
@settings(max_examples=300, deadline=None)
@example([5e-324, -5e-324, 2.2250738585072014e-308, 2.225073858507201e-308, 1.7976931348623157e308, 2.0**-44])
@example([1e21, 1e20, 123456789012345680000.0, 1e-6, 1e-7, -1e-7, 0.1 + 0.2, 9007199254740993.0, -0.0, 1e15, 1e16])
def test_a_double_is_written_with_the_fewest_digits_that_read_back_as_it(values: list[float]) -> None:
    texts = double_texts(values)
    assert texts == [decode_oracle.shortest(value) for value in values]
    assert [struct.pack("<d", float(text)) for text in texts] == [struct.pack("<d", value) for value in values]


def test_every_power_of_two_is_written_with_the_fewest_digits() -> None:
    values = [sign * math.ldexp(1.0, power) for power in range(-1074, 1024) for sign in (1, -1)]
    assert double_texts(values) == [decode_oracle.shortest(value) for value in values]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"), (-0.0, "-0"), (1.0, "1"), (-1.5, "-1.5"), (1e20, "100000000000000000000"), (1e21, "1e+21"),
        (1.5e300, "1.5e+300"), (1e-6, "0.000001"), (1e-7, "1e-7"), (-1.25e-9, "-1.25e-9"), (5e-324, "5e-324"),
        (123456.789, "123456.789"), (float("nan"), "NaN"), (float("inf"), "Infinity"), (float("-inf"), "-Infinity"),
    ],
)  # fmt: skip
def test_doubles_have_the_texts_of_ecmascript(value: float, text: str) -> None:
    assert double_texts([value]) == [text]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=50))
@settings(max_examples=50, deadline=None)
@example([-(2**63), 2**63 - 1, 0, -1, 9, 10, -10, 99, 100])
def test_integers_are_decimal(values: list[int]) -> None:
    assert bodies([AnyValue(int_value=value) for value in values]) == [str(value) for value in values]


def any_value(value: Any) -> AnyValue:
    """A Python value as an AnyValue; None is one without a value."""
    made = AnyValue()
    match value:
        case bool():
            made.bool_value = value
        case int():
            made.int_value = value
        case float():
            made.double_value = value
        case str():
            made.string_value = value
        case list():
            made.array_value.SetInParent()
            made.array_value.values.extend(any_value(item) for item in value)
        case dict():
            made.kvlist_value.SetInParent()
            for key, item in value.items():
                made.kvlist_value.values.add(key=key).value.CopyFrom(any_value(item))
    return made


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | TEXT
JSON = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXT, inner, max_size=5))
CONTAINERS = st.lists(JSON, max_size=5) | st.dictionaries(TEXT, JSON, max_size=5)


def go_json(value: Any) -> str:
    """json.dumps with the choices of Go's encoder: compact, keys in byte order, U+2028 and U+2029 escaped."""

    def ordered(inner: Any) -> Any:
        if isinstance(inner, dict):
            return {key: ordered(inner[key]) for key in sorted(inner, key=str.encode)}
        return [ordered(item) for item in inner] if isinstance(inner, list) else inner

    text = json.dumps(ordered(value), ensure_ascii=False, separators=(",", ":"))
    return text.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


@given(CONTAINERS)
@settings(max_examples=200, deadline=None)
def test_arrays_and_maps_are_compact_json_with_sorted_keys(value: Any) -> None:
    assert body(any_value(value)) == go_json(value)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), max_size=30))
@settings(max_examples=60, deadline=None)
def test_of_equal_keys_in_a_map_the_last_is_written(entries: list[tuple[str, int]]) -> None:
    made = AnyValue()
    made.kvlist_value.SetInParent()
    for key, number in entries:
        made.kvlist_value.values.add(key=key).value.int_value = number
    assert body(made) == go_json(dict(entries))


@given(st.binary(max_size=40))
@settings(max_examples=100, deadline=None)
def test_bytes_are_base64_alone_and_inside_of_json(value: bytes) -> None:
    import base64

    text = base64.b64encode(value).decode()
    array = AnyValue()
    array.array_value.values.add().bytes_value = value
    assert bodies([AnyValue(bytes_value=value), array]) == [text, f'["{text}"]']


def test_html_is_not_escaped_and_control_characters_are() -> None:
    assert body(any_value(["<a href='x'>&</a>", '\x00\x1f\x7f\b\f\n\r\t"\\/'])) == (
        '["<a href=\'x\'>&</a>","\\u0000\\u001f\x7f\\b\\f\\n\\r\\t\\"\\\\/"]'
    )


def test_doubles_without_a_json_form_become_strings_inside_of_json() -> None:
    value = any_value([float("nan"), float("inf"), float("-inf"), 1e21, -0.0, 0.5])
    assert body(value) == '["NaN","Infinity","-Infinity",1e+21,-0,0.5]'


def test_absent_values_are_empty_alone_and_null_inside_of_json() -> None:
    assert bodies([AnyValue(), any_value([None, {}, []])]) == ["", "[null,{},[]]"]


def nested(levels: int, *, maps: bool) -> AnyValue:
    value: Any = {} if maps else []
    for _ in range(levels - 1):
        value = {"k": value} if maps else [value]
    return any_value(value)


@pytest.mark.parametrize("maps", [False, True])
def test_thirty_two_levels_are_written(maps: bool) -> None:
    text = body(nested(32, maps=maps))
    assert text == ('{"k":' * 31 + "{}" + "}" * 31 if maps else "[" * 32 + "]" * 32)


def test_maps_beside_and_inside_of_each_other_keep_their_own_entries() -> None:
    value = {"z": {"b": 1, "a": {"d": [{"f": 1, "e": 2}, {"h": 3, "g": 4}], "c": 5}}, "y": {"x": {}}, "w": [{"v": 6}]}
    assert body(any_value(value)) == go_json(value)
