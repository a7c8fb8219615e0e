"""A reader of ClickHouse's Native format, value by value, written from the format's description.

https://clickhouse.com/docs/interfaces/formats/Native and SerializationLowCardinality's stream layout.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from typing import Any

_PLAIN = {
    "UInt8": "B", "Bool": "?", "UInt16": "H", "UInt32": "I", "UInt64": "Q", "Int32": "i", "Int64": "q",
    "DateTime64(9)": "q", "Float64": "d",
}  # fmt: skip
_INDEXES = "BHIQ"


class Reader:
    """Bytes and a position."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        assert self.at + size <= len(self.data), f"{size} bytes wanted at {self.at} of {len(self.data)}"
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def text(self) -> str:
        return self.take(self.varint()).decode()

    def numbers(self, form: str, count: int) -> list[Any]:
        return list(struct.unpack(f"<{count}{form}", self.take(count * struct.calcsize(form))))

    def u64(self) -> int:
        return int(self.numbers("Q", 1)[0])


def _inside(type_name: str, outer: str) -> str | None:
    match = re.fullmatch(rf"{outer}\((.*)\)", type_name)
    return match[1] if match else None


def _key_and_value(inside: str) -> tuple[str, str]:
    depth = 0
    for at, character in enumerate(inside):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            return inside[:at], inside[at + 2 :]
    raise AssertionError(inside)


def _prefix(reader: Reader, type_name: str) -> None:
    if inside := _inside(type_name, "Array"):
        _prefix(reader, inside)
    elif inside := _inside(type_name, "Map"):
        for part in _key_and_value(inside):
            _prefix(reader, part)
    elif _inside(type_name, "LowCardinality"):
        assert reader.u64() == 1


def _values(reader: Reader, type_name: str, count: int) -> list[Any]:
    if form := _PLAIN.get(type_name):
        return reader.numbers(form, count)
    if type_name == "String":
        return [reader.text() for _ in range(count)]
    if inside := _inside(type_name, "LowCardinality"):
        if not count:
            return []
        flags = reader.u64()
        assert flags & ~0xFF == 0x600
        dictionary = _values(reader, inside, reader.u64())
        assert dictionary[0] == ""
        assert len(set(dictionary)) == len(dictionary)
        assert reader.u64() == count
        return [dictionary[index] for index in reader.numbers(_INDEXES[flags & 0xFF], count)]
    ends = reader.numbers("Q", count)
    starts, total = [0, *ends[:-1]] if ends else [], ends[-1] if ends else 0
    if inside := _inside(type_name, "Array"):
        flat = _values(reader, inside, total)
    else:
        key, value = _key_and_value(_inside(type_name, "Map") or "")
        flat = list(zip(_values(reader, key, total), _values(reader, value, total), strict=True))
    return [flat[start:end] for start, end in zip(starts, ends, strict=True)]


def columns(data: bytes) -> Iterator[tuple[str, str, list[Any]]]:
    """Name, type and values of each column of the one block in `data`."""
    reader = Reader(data)
    width, rows = reader.varint(), reader.varint()
    for _ in range(width):
        name, type_name = reader.text(), reader.text()
        _prefix(reader, type_name)
        yield name, type_name, _values(reader, type_name, rows)
    assert reader.at == len(data), f"{len(data) - reader.at} bytes are left over"


def rows(data: bytes) -> list[dict[str, Any]]:
    """The block as rows."""
    named = {name: values for name, _, values in columns(data)}
    return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]
