"""One request too large for a log record becomes several, at resource, scope or item boundaries, by encoded size.

Each part repeats the headers (resource, scope, schema URLs, a metric's name and unit) that its items need, so that
every part is a request of its own. Items keep their order.
"""

from __future__ import annotations

from ingest.containers import CHILDREN, fields, wrap
from schemas.errors import TooLargeError
from schemas.signals import NAMES, Signal


def split(signal: Signal, body: bytes, items: int, max_bytes: int) -> list[tuple[bytes, int]]:
    """Parts (request, items in it) of at most `max_bytes` each; [(body, items)] when it is small enough already.

    `body` MUST have passed validation, and `items` is what validation counted in it.

    Raises:
        TooLargeError: one item with the headers that it needs, or headers alone, are over `max_bytes`.
    """
    if len(body) <= max_bytes:
        return [(body, items)]
    return _parts(signal, body, 0, len(body), 0, max_bytes, max_bytes)


def _parts(
    signal: Signal, body: bytes, begin: int, end: int, level: int, room: int, max_bytes: int
) -> list[tuple[bytes, int]]:
    """The message body[begin:end] at `level` as several of at most `room` bytes, each with its headers."""
    children = CHILDREN[signal]
    header = bytearray()
    inside: list[tuple[int, int, int, int]] = []
    for field in fields(body, begin, end):
        if level < len(children) and field[0] in children[level]:
            inside.append(field)
        else:
            header += body[field[1] : field[3]]
    if len(header) > room or not inside:
        what = f"one of the {NAMES[signal].item}" if level == len(children) else "a header"
        raise TooLargeError(
            f"{signal} request: {what} at byte {begin} has {len(header)} bytes; with what encloses it, it does not fit"
            f" in one log record of {max_bytes} bytes"
        )
    parts: list[tuple[bytes, int]] = []
    open_part = bytearray(header)
    open_items = 0
    for tag, start, value, stop in inside:
        pieces = [(body[start:stop], _count(signal, body, value, stop, level + 1))]
        if len(header) + stop - start > room:
            # A tag and a length of up to five bytes come back around each piece.
            below = _parts(signal, body, value, stop, level + 1, room - len(header) - 6, max_bytes)
            pieces = [(wrap(tag, piece), count) for piece, count in below]
        for piece, count in pieces:
            if len(open_part) + len(piece) > room:
                parts.append((bytes(open_part), open_items))
                open_part[:] = header
                open_items = 0
            open_part += piece
            open_items += count
    parts.append((bytes(open_part), open_items))
    return parts


def _count(signal: Signal, body: bytes, begin: int, end: int, level: int) -> int:
    children = CHILDREN[signal]
    if level == len(children):
        return 1
    return sum(
        _count(signal, body, value, stop, level + 1)
        for tag, _, value, stop in fields(body, begin, end)
        if tag in children[level]
    )
