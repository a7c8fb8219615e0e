"""Requests made at random decode to the rows that plain Python makes of the protobuf library's objects."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from schemas.signals import Signal
from tests import decode_oracle
from tests.decoded import comparable, decoded_rows
from tests.otlp_validation import field, key_value
from tests.strategies import SEEDS, SIGNALS, record_of, records_from


@given(SIGNALS, SEEDS)
@settings(max_examples=300, deadline=None)
def test_every_batch_decodes_to_the_rows_of_the_oracle(signal: Signal, seed: int) -> None:
    records = records_from(seed, signal)
    assert comparable(decoded_rows(signal, records)) == comparable(decode_oracle.rows(signal, records))


def text(value: bytes) -> bytes:
    return field(1, value)


# What stands where a short key and a short text are expected, on both sides of each bound.
KEY_VALUES = {
    "a short key and a short text": key_value(b"key", text(b"value")),
    "an empty key": key_value(b"", text(b"value")),
    "an empty text": key_value(b"key", text(b"")),
    "no value": field(1, b"key"),
    "a value that is nothing": key_value(b"key", b""),
    "no key": field(2, text(b"value")),
    "nothing at all": b"",
    "the value before the key": field(2, text(b"value")) + field(1, b"key"),
    "two values": key_value(b"key", text(b"first")) + field(2, text(b"second")),
    "two keys": field(1, b"other") + key_value(b"key", text(b"value")),
    "a field of a later version at the end": key_value(b"key", text(b"value")) + field(9, b"later"),
    "a field of a later version in the value": key_value(b"key", text(b"value") + field(9, b"later")),
    "two texts in the value": key_value(b"key", text(b"first") + text(b"second")),
    "an integer": key_value(b"key", b"\x18\x85\x01"),
    "a negative integer": key_value(b"key", b"\x18" + b"\xff" * 9 + b"\x01"),
    "an integer and then a text": key_value(b"key", b"\x18\x05" + text(b"text")),
    **{f"a key of {size}": key_value(b"k" * size, text(b"value")) for size in (127, 128, 129, 255, 256)},
    **{
        f"a text of {size}": key_value(b"key", text(b"v" * size))
        for size in (11, 12, 13, 123, 124, 125, 126, 127, 128, 300)
    },
}


@pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS])
@pytest.mark.parametrize("shape", KEY_VALUES)
def test_an_attribute_of_every_shape_is_read_alike_whether_it_was_expected_or_not(signal: Signal, shape: str) -> None:
    number = {Signal.TRACES: 9, Signal.LOGS: 6}[signal]
    after = key_value(b"after", text(b"1"))
    # Twice: the second time each key is the one that came there last.
    item = field(2, field(number, KEY_VALUES[shape]) + field(number, after))
    records = [record_of(signal, field(1, field(2, item + item)), 0)]
    assert comparable(decoded_rows(signal, records)) == comparable(decode_oracle.rows(signal, records))
