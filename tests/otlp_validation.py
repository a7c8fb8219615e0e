"""Wire bytes by hand, and both validators asked at once."""

from __future__ import annotations

from typing import Any

from ingest import validate_walk
from ingest.validate import Verdict, validate
from ingest.validate_kernel import compiled_walk
from ingest.wire_schema import SCHEMA
from schemas.signals import Signal
from tests.otlp_requests import WINDOW


def field(number: int, value: bytes | int) -> bytes:
    """A length-delimited field from bytes, a varint field from an int."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def key_value(key: bytes, value: bytes) -> bytes:
    """The fields of a KeyValue, from those of its AnyValue."""
    return field(1, key) + field(2, value)


def traces(*spans: bytes) -> bytes:
    return field(1, field(2, b"".join(field(2, span) for span in spans)))


def both(signal: Signal, body: bytes) -> validate_walk.Scan | validate_walk.Broken:
    """What the compiled and the Python validator find, which must be the same."""
    found: list[Any] = []
    for walk in (compiled_walk, validate_walk.walk):
        try:
            found.append(walk(body, SCHEMA.roots[signal], WINDOW["oldest_ns"], WINDOW["newest_ns"]))
        except validate_walk.BrokenError as error:
            found.append(error.broken)
    assert found[0] == found[1]
    return found[0]  # type: ignore[no-any-return]


def check(signal: Signal, body: bytes) -> Verdict:
    both(signal, body)
    return validate(signal, body, **WINDOW)
