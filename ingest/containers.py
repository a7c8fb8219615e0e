"""Requests as nested containers of wire fields: request, resource, scope, (metric, data,) item.

Cutting and splitting work on validated bytes, touch no field below an item, and copy what they copy as it was sent.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from ingest.validate_walk import past_varint, prefix
from schemas.signals import Signal

# Tags (field number << 3 | 2) of the children of each level, outermost first. A Metric's are gauge, sum, histogram,
# exponential_histogram and summary, and each of these holds its points in field 1.
_RESOURCES: Final = frozenset({0x0A})
_SCOPES: Final = frozenset({0x12})
_ITEMS: Final = frozenset({0x12})
CHILDREN: Final[dict[Signal, tuple[frozenset[int], ...]]] = {
    Signal.TRACES: (_RESOURCES, _SCOPES, _ITEMS),
    Signal.LOGS: (_RESOURCES, _SCOPES, _ITEMS),
    Signal.METRICS: (_RESOURCES, _SCOPES, _ITEMS, frozenset({0x2A, 0x3A, 0x4A, 0x52, 0x5A}), frozenset({0x0A})),
}


def fields(body: bytes, p: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(tag, start of the field, start of its value, end of the field) of each field of a validated message."""
    while p < end:
        start = p
        tag, p = prefix(body, p, end)
        wire = tag & 7
        if wire == 2:
            length, p = prefix(body, p, end)
            value, p = p, p + length
        elif wire == 0:
            value, p = p, past_varint(body, p, end)
        else:
            value, p = p, p + (8 if wire == 1 else 4)
        yield tag, start, value, p


def wrap(tag: int, value: bytes) -> bytes:
    """A length-delimited field with a one-byte tag."""
    size = len(value)
    head = bytearray((tag,))
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + value


def cut(signal: Signal, body: bytes, cuts: Sequence[tuple[int, int]]) -> bytes:
    """`body` without the fields [start, end) of `cuts`, which are items or containers, in order and disjoint.

    A container that loses its last child goes too: a metric without points or a scope without spans says nothing.
    """
    waiting = list(reversed(cuts))

    def without(p: int, end: int, level: int) -> bytes | None:
        children = CHILDREN[signal][level]
        kept: list[bytes] = []
        any_child = False
        for tag, start, value, stop in fields(body, p, end):
            if waiting and waiting[-1][0] < stop:
                if waiting[-1][0] == start:
                    waiting.pop()
                    continue
                inner = without(value, stop, level + 1)
                if inner is None:
                    continue
                kept.append(wrap(tag, inner))
            else:
                kept.append(body[start:stop])
            any_child = any_child or tag in children
        return b"".join(kept) if any_child else None

    return without(0, len(body), 0) or b""
