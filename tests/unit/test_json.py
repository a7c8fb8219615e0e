"""OTLP/JSON becomes the protobuf that says the same, or an error that names the JSON path."""

from __future__ import annotations

import base64
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.json import encode_request
from ingest.validate import validate
from ingest.wire_schema import REQUESTS
from schemas.errors import MalformedRequestError, PermanentError, TooLargeError
from schemas.signals import Signal
from tests.otlp_requests import request

SIGNALS = st.sampled_from(list(Signal))
RANDOM = st.integers(0, 2**32).map(random.Random)
FOLDER = Path(__file__).parent.parent / "testdata" / "otlp"
LARGE = frozenset(
    {
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_FIXED64,
        FieldDescriptor.TYPE_SFIXED64,
    }
)


class Encoder:
    """Messages to OTLP/JSON, written from the specification, choosing at random among all the forms it allows."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def message(self, message: Any) -> dict[str, Any]:
        fields: list[tuple[str, Any]] = []
        for field, value in message.ListFields():
            name = field.name if self.rng.random() < 0.2 else field.json_name
            values = [self.value(field, one) for one in (value if field.is_repeated else [value])]
            fields.append((name, values if field.is_repeated else values[0]))
        if self.rng.random() < 0.2:
            fields.append(("notInOtlp", self.rng.choice([1, None, "x", {"deep": [{}, []]}])))
        taken = {name for name, _ in fields}
        unset = [field for field in message.DESCRIPTOR.fields if not {field.name, field.json_name} & taken]
        fields += [(field.json_name, None) for field in unset if self.rng.random() < 0.1]
        self.rng.shuffle(fields)
        return dict(fields)

    def value(self, field: FieldDescriptor, value: Any) -> Any:
        if field.message_type is not None:
            return self.message(value)
        if field.type == FieldDescriptor.TYPE_BYTES:
            return self.bytes(field.name, value)
        if field.type in LARGE:
            return value if self.rng.random() < 0.5 else str(value)
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            if math.isinf(value):
                return "Infinity" if value > 0 else "-Infinity"
            return repr(value) if self.rng.random() < 0.1 else value
        return value

    def bytes(self, name: str, value: bytes) -> str:
        if name in ("trace_id", "span_id", "parent_span_id"):
            return value.hex().upper() if self.rng.random() < 0.5 else value.hex()
        if self.rng.random() < 0.5:
            return base64.b64encode(value).decode()
        return base64.urlsafe_b64encode(value).decode().rstrip("=")


@given(SIGNALS, RANDOM)
@settings(max_examples=250, deadline=None)
def test_json_of_any_request_says_what_the_request_said(signal: Signal, rng: random.Random) -> None:
    message = request(rng, signal)
    body = json.dumps(Encoder(rng).message(message), ensure_ascii=rng.random() < 0.5).encode()
    assert REQUESTS[signal].FromString(encode_request(signal, body, max_depth=200)) == message


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize("sender", ["js", "collector"])
def test_real_senders_mean_the_same_in_json_as_in_protobuf(signal: Signal, sender: str) -> None:
    encoded = encode_request(signal, (FOLDER / f"{sender}_{signal}.json").read_bytes(), max_depth=64)
    written = (FOLDER / f"{sender}_{signal}.binpb").read_bytes()
    # As text, because NaN is not equal to itself.
    assert str(REQUESTS[signal].FromString(encoded)) == str(REQUESTS[signal].FromString(written))


@pytest.mark.parametrize("signal", list(Signal))
@pytest.mark.parametrize(("sender", "items"), [("js", [2, 5, 2]), ("collector", [2, 5, 2])])
def test_what_real_senders_write_is_accepted_as_it_is(signal: Signal, sender: str, items: list[int]) -> None:
    body = (FOLDER / f"{sender}_{signal}.binpb").read_bytes()
    verdict = validate(signal, body, now_ns=0, oldest_ns=0, newest_ns=2**64 - 1)
    assert (verdict.items, verdict.rejected, verdict.body) == (items[list(Signal).index(signal)], 0, body)


def span(text: str) -> bytes:
    return ('{"resourceSpans":[{"scopeSpans":[{"spans":[{}, {' + text + "}]}]}]}").encode()


def point(text: str) -> bytes:
    return ('{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[{' + text + "}]}}]}]}]}").encode()


def attribute(text: str) -> bytes:
    return span('"attributes":[{"key":"k","value":' + text + "}]")


def decoded_span(text: str) -> Any:
    encoded = encode_request(Signal.TRACES, span(text), max_depth=64)
    return REQUESTS[Signal.TRACES].FromString(encoded).resource_spans[0].scope_spans[0].spans[1]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('"startTimeUnixNano":"1760000000000000001"', 1760000000000000001),
        ('"startTimeUnixNano":1760000000000000001', 1760000000000000001),
        ('"startTimeUnixNano":18446744073709551615', 2**64 - 1),
        ('"startTimeUnixNano":1.76e18', 1760000000000000000),
        ('"startTimeUnixNano":5.0', 5),
        ('"startTimeUnixNano":"5e1"', 50),
        ('"startTimeUnixNano":1,"startTimeUnixNano":2', 2),
        ('"startTimeUnixNano":1,"start_time_unix_nano":2', 2),
        ('"startTimeUnixNano":null', 0),
    ],
)
def test_64_bit_integers_are_numbers_or_strings(text: str, expected: int) -> None:
    assert decoded_span(text).start_time_unix_nano == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0.1", 0.1), ("3", 3.0), ('"NaN"', math.nan), ('"Infinity"', math.inf), ('"-Infinity"', -math.inf),
        ('"2.5"', 2.5), ("1e-400", 0.0), ("18446744073709551616", 2.0**64), ("-0.0", -0.0),
    ],
)  # fmt: skip
def test_doubles_are_numbers_strings_or_the_three_names(value: str, expected: float) -> None:
    encoded = encode_request(Signal.METRICS, point(f'"asDouble":{value}'), max_depth=64)
    (metric,) = REQUESTS[Signal.METRICS].FromString(encoded).resource_metrics[0].scope_metrics[0].metrics
    assert str(metric.gauge.data_points[0].as_double) == str(expected)


def test_an_empty_value_array_or_map_stays_what_it_is() -> None:
    values = [
        decoded_span(f'"attributes":[{{"key":"k","value":{text}}}]').attributes[0].value.WhichOneof("value")
        for text in (
            "{}",
            '{"arrayValue":{}}',
            '{"kvlistValue":{"values":[]}}',
            '{"stringValue":""}',
            '{"bytesValue":""}',
        )
    ]
    assert values == [None, "array_value", "kvlist_value", "string_value", "bytes_value"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "traces request: not JSON: "),
        (b"{", "traces request: not JSON: "),
        (b"\xef\xbb\xbf{}", "traces request: not JSON: "),
        (b"[]", "traces request: $: must be an object, got an array of 0"),
        (b'{"resourceSpans":{}}', "traces request: $.resourceSpans: must be an array, got an object of 0"),
        (b'{"resourceSpans":[null]}', "traces request: $.resourceSpans[0]: must be an object, got null"),
        (span('"name":5'), "$.resourceSpans[0].scopeSpans[0].spans[1].name: must be a string, got 5"),
        (span('"name":"\\ud83d"'), "traces request: not JSON: "),
        (b'{"resourceSpans":[{"schemaUrl":"\xff"}]}', "traces request: not JSON: "),
        (span('"kind":"SPAN_KIND_SERVER"'), '.spans[1].kind: must be the integer of the enum value (OTLP/JSON does'),
        (span('"kind":"2"'), 'spans[1].kind: must be the integer of the enum value'),
        (span('"kind":2147483648'), "spans[1].kind: must be the integer of the enum value"),
        (span('"traceId":"abc"'), '.traceId: must be a string of hexadecimal digits, two a byte, got "abc"'),
        (span('"traceId":"q83vASNFZ4mrze8BI0VniQ=="'), ".traceId: must be a string of hexadecimal digits"),
        (span('"traceId":"ab cd"'), ".traceId: must be a string of hexadecimal digits"),
        (span('"traceId":12'), ".traceId: must be a string of hexadecimal digits, two a byte, got 12"),
        (span('"startTimeUnixNano":-1'), ".startTimeUnixNano: must be an integer from 0 to 18446744073709551615, as"),
        (span('"startTimeUnixNano":18446744073709551616'), "got 1.8446744073709552e+19"),
        (span('"startTimeUnixNano":1.5'), ".startTimeUnixNano: must be an integer"),
        (span('"startTimeUnixNano":" 1"'), ".startTimeUnixNano: must be an integer"),
        (span('"startTimeUnixNano":"1_0"'), ".startTimeUnixNano: must be an integer"),
        (span('"startTimeUnixNano":"٣"'), ".startTimeUnixNano: must be an integer"),
        (span('"startTimeUnixNano":""'), '.startTimeUnixNano: must be an integer'),
        (span('"startTimeUnixNano":true'), ".startTimeUnixNano: must be an integer"),
        (span('"startTimeUnixNano":"%s"' % ("9" * 5000)), ".startTimeUnixNano: must be an integer"),
        (span('"startTimeUnixNano":%s' % ("9" * 5000)), "traces request: not JSON: "),
        (span('"startTimeUnixNano":{"low":1,"high":2}'), ".startTimeUnixNano: must be an integer"),
        (span('"droppedAttributesCount":4294967296'), "Count: must be an integer from 0 to 4294967295"),
        (span('"attributes":[{},{"key":"k","value":{"boolValue":"true"}}]'), ".attributes[1].value.boolValue: must be"),
        (attribute('{"intValue":-9223372036854775809}'), ".intValue: must be an integer from -9223372036854775808"),
        (attribute('{"intValue":"9223372036854775808"}'), ".value.intValue: must be an integer"),
        (attribute('{"intValue":1e400}'), "traces request: not JSON: "),
        (attribute('{"doubleValue":"nan"}'), ".value.doubleValue: must be a finite number"),
        (attribute('{"doubleValue":"1e400"}'), ".value.doubleValue: must be a finite number"),
        (attribute('{"doubleValue":true}'), ".value.doubleValue: must be a finite number"),
        (attribute('{"doubleValue":NaN}'), "traces request: not JSON: "),
        (attribute('{"bytesValue":"a"}'), '.value.bytesValue: must be a string in base64, got "a"'),
        (attribute('{"bytesValue":"AA\\nAA"}'), ".value.bytesValue: must be a string in base64"),
        (attribute('{"stringValue":"a","intValue":1}'), ".value: must hold only one of string_value and int_value"),
        (attribute('{"arrayValue":{"values":[{},null]}}'), ".arrayValue.values[1]: must be an object, got null"),
    ],
)  # fmt: skip
def test_what_breaks_the_rules_is_refused_by_path_rule_and_value(body: bytes, message: str) -> None:
    with pytest.raises(MalformedRequestError) as refusal:
        encode_request(Signal.TRACES, body, max_depth=64)
    assert message in str(refusal.value)
    assert len(str(refusal.value)) < 400


def test_wrong_id_lengths_are_left_to_validation_which_rejects_the_item_alone() -> None:
    body = encode_request(Signal.TRACES, span('"traceId":"abcd"'), max_depth=64)
    verdict = validate(Signal.TRACES, body, now_ns=0, oldest_ns=0, newest_ns=2**64 - 1)
    assert (verdict.items, verdict.rejected) == (1, 1)


def nested(levels: int) -> bytes:
    return attribute('{"arrayValue":{"values":[' * levels + "{}" + "]}}" * levels)


def test_nesting_is_bounded_by_objects_and_arrays() -> None:
    # Nine enclose the value of an attribute of a span; a level of arrays adds three.
    assert encode_request(Signal.TRACES, nested(5), max_depth=25)
    with pytest.raises(TooLargeError, match="JSON nests more than 24 levels"):
        encode_request(Signal.TRACES, nested(5), max_depth=24)
    with pytest.raises(TooLargeError, match="JSON nests more than 256 levels"):
        encode_request(Signal.TRACES, nested(100), max_depth=10**9)


def test_a_hundred_thousand_levels_are_refused_also_in_unknown_fields() -> None:
    for body in (nested(100_000), b'{"unknown":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        with pytest.raises(PermanentError):
            encode_request(Signal.TRACES, body, max_depth=64)


@given(SIGNALS, RANDOM, st.data())
@settings(max_examples=300, deadline=None)
def test_broken_json_gets_an_answer(signal: Signal, rng: random.Random, data: st.DataObject) -> None:
    text = bytearray(json.dumps(Encoder(rng).message(request(rng, signal, repeats=1))).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(
            st.sampled_from([b"", b'"', b"9", b"[", b"{", b"null", b"\xff"])
        )
    try:
        encoded = encode_request(signal, bytes(text), max_depth=64)
    except PermanentError as error:
        assert str(error).startswith(f"{signal} request: ")  # noqa: PT017  both outcomes are right
        return
    REQUESTS[signal].FromString(encoded)
