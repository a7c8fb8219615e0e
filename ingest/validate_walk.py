"""The wire validator in Python: the rules of OTLP requests, and the fallback while the compiled one is not ready.

Everything is decided on the wire bytes and never by a protobuf library, so that both validators can hold to one rule:
the strictest of the readers that may come after us (upb, Go's protowire). Only the first fault and the first broken
rule are described.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ingest.wire_schema import (
    ANY_VALUE,
    CONTAINER,
    ID,
    ITEM,
    KEY_VALUE,
    MESSAGE,
    PACKED_FIXED64,
    PACKED_VARINT,
    SCHEMA,
    STRING,
    TIME,
    WRONG,
)

LEVEL_MAX: Final = 32
# Submessages below the request: the default bound of upb and most protobuf libraries. What we append, others can read.
DEPTH_MAX: Final = 100

(BAD_TAG, FIELD_ZERO, WRONG_WIRE_TYPE, GROUP, BAD_WIRE_TYPE, BAD_VARINT, BAD_LENGTH, TRUNCATED, BAD_PACKED, TWICE,
 TOO_DEEP, TOO_MANY_ITEMS, TOO_MANY_ELEMENTS) = range(1, 14)  # fmt: skip
FAULT_ID, FAULT_TEXT, FAULT_TIME = range(1, 4)
# A KeyValue shorter than this says nothing; the bytes of any other pay for what it costs.
LEAST_ATTRIBUTE_BYTES: Final = 4
NO_BOUND: Final = 1 << 62


class Broken(NamedTuple):
    """A structural rule that does not hold: its code, the byte offset of the field, its message id and tag."""

    rule: int
    position: int
    message: int
    tag: int


class Fault(NamedTuple):
    """What is wrong with an item: where its value is, its size, the time or the size expected, message and tag."""

    rule: int
    position: int
    size: int
    value: int
    message: int
    tag: int


class Scan(NamedTuple):
    """What a walk found. `cuts` are the byte ranges [start, end) of the fields to remove, disjoint and in order.

    `elements` are the submessages of the request but for attributes that say something and their values.
    """

    items: int
    elements: int
    lost: int
    cuts: list[tuple[int, int]]
    fault: Fault | None


class BrokenError(Exception):
    """Ends a walk; `broken` says where."""

    def __init__(self, broken: Broken) -> None:
        super().__init__(broken)
        self.broken = broken


def prefix(body: bytes, p: int, end: int) -> tuple[int, int]:
    """A tag or length, at most 5 bytes and 32 bits: (value, position after it); (-1, p) when it is neither."""
    value = shift = 0
    for q in range(p, min(end, p + 5)):
        byte = body[q]
        value |= (byte & 127) << shift
        if byte < 128:
            return (value, q + 1) if value < 1 << 32 else (-1, p)
        shift += 7
    return -1, p


def past_varint(body: bytes, p: int, end: int) -> int:
    """The position after a varint; -1 when it is truncated, over 10 bytes or over 64 bits."""
    for q in range(p, min(end, p + 10)):
        byte = body[q]
        if byte < 128:
            return -1 if q - p == 9 and byte > 1 else q + 1
    return -1


def _is_utf8(text: bytes) -> bool:
    if text.isascii():
        return True
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class _Walk:
    """One request under way. Recursion is bounded by DEPTH_MAX."""

    def __init__(self, body: bytes, oldest: int, newest: int, most_items: int, most_elements: int) -> None:
        self.body = body
        self.oldest = oldest
        self.newest = newest
        self.most_items = most_items
        self.most_elements = most_elements
        self.rows: list[list[int]] = _ROWS
        self.items = 0
        self.elements = 0
        self.lost = 0
        self.cuts: list[tuple[int, int]] = []
        self.fault: Fault | None = None
        self.faulty = False
        self.times = [(0, 0, 0), (0, 0, 0)]

    def find(self, fault: Fault) -> None:
        self.faulty = True
        if self.fault is None:
            self.fault = fault

    def removable(self, start: int, p: int, end: int, message: int, kind: int, level: int, depth: int) -> None:
        """Walk an item or a container; when it is at fault itself, everything in it is lost and one cut removes it."""
        items, lost, cuts, outer = self.items, self.lost, len(self.cuts), self.faulty
        self.faulty = False
        if kind == ITEM:
            self.items += 1
            self.times = [(0, 0, 0), (0, 0, 0)]
        self.message(p, end, message, level, depth)
        if kind == ITEM:
            time, at, tag = self.times[0] if self.times[0][0] else self.times[1]
            if time and not self.oldest <= time <= self.newest:
                self.find(Fault(FAULT_TIME, at, 8, time, message, tag))
        if self.faulty:
            self.lost = lost + self.items - items
            self.cuts[cuts:] = [(start, end)]
        self.faulty = outer

    def message(self, p: int, end: int, message: int, level: int, depth: int) -> None:
        body = self.body
        row = self.rows[message]
        seen = 0
        while p < end:
            start = p
            tag = body[p]
            if tag < 128:
                p += 1
            else:
                tag, p = prefix(body, p, end)
                if tag < 0:
                    raise BrokenError(Broken(BAD_TAG, start, message, 0))
            entry = row[tag] if tag < 256 else 0
            action = entry & 15
            once = entry >> 4 & 7
            if once:
                if seen >> once & 1:
                    raise BrokenError(Broken(TWICE, start, message, tag))
                seen |= 1 << once
            if MESSAGE <= action <= PACKED_VARINT:
                length, p = prefix(body, p, end)
                if not 0 <= length <= end - p:
                    raise BrokenError(Broken(BAD_LENGTH, start, message, tag))
                stop = p + length
                if action == MESSAGE:
                    kind = entry >> 7 & 7
                    below = level + (kind == ANY_VALUE)
                    if depth == DEPTH_MAX or below > LEVEL_MAX:
                        raise BrokenError(Broken(TOO_DEEP, start, message, tag))
                    if kind == KEY_VALUE:
                        self.elements += length < LEAST_ATTRIBUTE_BYTES
                    elif message != _KEY_VALUE:
                        self.elements += 1
                    if self.elements > self.most_elements:
                        raise BrokenError(Broken(TOO_MANY_ELEMENTS, start, message, tag))
                    if kind == ITEM and self.items == self.most_items:
                        raise BrokenError(Broken(TOO_MANY_ITEMS, start, message, tag))
                    if kind in (ITEM, CONTAINER):
                        self.removable(start, p, stop, entry >> 10, kind, below, depth + 1)
                    else:
                        self.message(p, stop, entry >> 10, below, depth + 1)
                elif action == STRING:
                    if not _is_utf8(body[p:stop]):
                        self.find(Fault(FAULT_TEXT, p, length, 0, message, tag))
                elif action == ID:
                    if length not in (0, entry >> 10):
                        self.find(Fault(FAULT_ID, p, length, entry >> 10, message, tag))
                elif action == PACKED_FIXED64:
                    if length & 7:
                        raise BrokenError(Broken(BAD_PACKED, start, message, tag))
                elif action == PACKED_VARINT:
                    while p < stop:
                        p = past_varint(body, p, stop)
                        if p < 0:
                            raise BrokenError(Broken(BAD_VARINT, start, message, tag))
                p = stop
                continue
            if action == WRONG:
                raise BrokenError(Broken(WRONG_WIRE_TYPE, start, message, tag))
            if tag < 8:
                raise BrokenError(Broken(FIELD_ZERO, start, message, tag))
            p = self.scalar(start, p, end, message, tag, entry)

    def scalar(self, start: int, p: int, end: int, message: int, tag: int, entry: int) -> int:
        """The position after a scalar, or after an unknown field of any kind."""
        wire = tag & 7
        if wire == 0:
            after = past_varint(self.body, p, end)
            if after < 0:
                raise BrokenError(Broken(BAD_VARINT, start, message, tag))
            return after
        if wire == 2:
            length, p = prefix(self.body, p, end)
            if not 0 <= length <= end - p:
                raise BrokenError(Broken(BAD_LENGTH, start, message, tag))
            return p + length
        if wire not in (1, 5):
            raise BrokenError(Broken(GROUP if wire < 5 else BAD_WIRE_TYPE, start, message, tag))
        width = 8 if wire == 1 else 4
        if end - p < width:
            raise BrokenError(Broken(TRUNCATED, start, message, tag))
        if entry & 15 == TIME:
            self.times[entry >> 10] = (int.from_bytes(self.body[p : p + 8], "little"), p, tag)
        return p + width


_ROWS: Final[list[list[int]]] = SCHEMA.table.tolist()
_KEY_VALUE: Final = next(at for at, message in enumerate(SCHEMA.messages) if message.name == "KeyValue")


def walk(
    body: bytes, root: int, oldest: int, newest: int, most_items: int = NO_BOUND, most_elements: int = NO_BOUND
) -> Scan:
    """Walk one request; times are Unix nanoseconds within UInt64, both bounds included.

    Raises:
        BrokenError: a structural rule does not hold, or there are more items or elements than may be.
    """
    state = _Walk(body, oldest, newest, most_items, most_elements)
    state.message(0, len(body), root, 0, 0)
    return Scan(state.items, state.elements, state.lost, state.cuts, state.fault)
