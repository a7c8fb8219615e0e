"""One request too large for a log record becomes several, at resource, scope or item boundaries, by encoded size.

Each part repeats the headers (resource, scope, schema URLs, a metric's name and unit) that its items need, so that
every part is a request of its own. Items keep their order. No Python object is made for an item, or for a container:
the work is in `ingest.split_kernel`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from ingest.containers import CHILDREN
from ingest.precompile import compile_in_child, is_cached
from schemas.errors import TooLargeError
from schemas.settings import MIB
from schemas.signals import NAMES, Signal

_COMPILED_FROM: Final = (
    *(f"ingest/{name}.py" for name in ("split_kernel", "wire_fields", "wire_primitives")),
    "schemas/wire.py",
)
_ALL: Final = 1 << 62
_SPARE_ROWS: Final = 1024
# A header of nearly a record, repeated in front of each few bytes, would make terabytes of one request. What senders
# send repeats kilobytes.
_REPEATED_BYTES: Final = 16 * MIB


class _Warm:
    """Whether the compiled code is here: written once, by `warm_up`."""

    compiled = False
    warming = threading.Lock()


class _Found(NamedTuple):
    """A request taken apart; see `split_kernel`."""

    body: Any
    rows: Any
    containers: Any
    stretches: Any
    stack: Any


def is_compiled() -> bool:
    """Whether `split` and `without` answer at once."""
    return _Warm.compiled


def warm_up() -> None:
    """Load the compiled code; blocks for about half a second, several when it must be compiled first.

    Compiling happens in a child process, because it would hold the lock of the interpreter that acks need. Safe to call
    again, and from any thread.
    """
    with _Warm.warming:
        if _Warm.compiled:
            return
        if not is_cached("split_kernel.write-*.nbi", _COMPILED_FROM):
            compile_in_child("ingest.split_kernel")
        import ingest.split_kernel  # noqa: F401, PLC0415  importing it is what compiles it

        _Warm.compiled = True


def split(
    signal: Signal,
    body: bytes,
    items: int,
    max_bytes: int,
    *,
    max_items: int = _ALL,
    charge: Callable[[int], None] = lambda _bytes: None,
) -> list[tuple[bytes, int]]:
    """Parts (request, items in it) of at most `max_bytes` and `max_items` each; [(body, items)] when it is one already.

    Args:
        signal: which request `body` is.
        body: it MUST have passed validation.
        items: what validation counted in it.
        max_bytes: bytes of a part.
        max_items: items of a part.
        charge: told the bytes of memory that are about to be taken; what it raises is passed on.

    Raises:
        TooLargeError: one item with the headers that it needs, or headers alone, are over `max_bytes`; or the headers
            that the parts repeat are more than twice the request.
    """
    if len(body) <= max_bytes and items <= max_items:
        return [(body, items)]
    found = _find(signal, body, np.empty((0, 2), np.int64), items + _SPARE_ROWS, charge)
    parts = _pack(signal, found, max_bytes, max_items)
    total_bytes = sum(size_bytes for _, _, size_bytes, _ in parts)
    if total_bytes > 2 * len(body) + _REPEATED_BYTES:
        raise TooLargeError(
            f"{signal} request: what encloses its {NAMES[signal].item} is repeated in each of {len(parts)} records, "
            f"{total_bytes} bytes for a request of {len(body)}; it does not fit in one log record of {max_bytes} bytes"
        )
    charge(total_bytes)
    room = np.empty(max(size_bytes for _, _, size_bytes, _ in parts), np.uint8)
    return [(_write(found, first, end, room), count) for first, end, _, count in parts]


def without(signal: Signal, body: bytes, cuts: Sequence[tuple[int, int]]) -> bytes:
    """`containers.cut`, compiled: the fields that a container keeps come before what it holds."""
    found = _find(signal, body, np.array(cuts, np.int64).reshape(-1, 2), len(cuts) + _SPARE_ROWS, lambda _bytes: None)
    if not len(found.rows):
        return b""
    ((first, end, size_bytes, _),) = _pack(signal, found, _ALL, _ALL)
    return _write(found, first, end, np.empty(size_bytes, np.uint8))


def _find(signal: Signal, body: bytes, cuts: Any, rows_expected: int, charge: Callable[[int], None]) -> _Found:
    warm_up()
    from ingest import split_kernel as kernel  # noqa: PLC0415  see `warm_up`

    wire = np.frombuffer(body, np.uint8)
    counts = np.zeros(3, np.int64)
    stack = np.empty(2 * kernel.LEVELS, np.int64)
    sizes = np.array((rows_expected, _SPARE_ROWS, _SPARE_ROWS), np.int64)
    while True:
        charge(4 * int(sizes @ (kernel.ROW_COLUMNS, kernel.CONTAINER_COLUMNS, 2)))
        rows, containers, stretches = (
            np.empty((size, width), np.int32)
            for size, width in zip(sizes, (kernel.ROW_COLUMNS, kernel.CONTAINER_COLUMNS, 2), strict=True)
        )
        kernel.find(wire, _TAGS[signal], cuts, rows, containers, stretches, stack, counts)
        if (counts <= sizes).all():
            break
        sizes = counts.copy()
    return _Found(wire, rows[: counts[0]], containers, stretches, stack)


def _pack(signal: Signal, found: _Found, max_bytes: int, max_items: int) -> list[tuple[int, int, int, int]]:
    """Of each part its first row, the row behind its last, the most bytes that it takes, its items."""
    from ingest import split_kernel as kernel  # noqa: PLC0415  see `warm_up`

    bounds = (found.rows, len(found.rows), found.containers, max_bytes, max_items)
    count = kernel.pack(*bounds, np.empty((0, kernel.PART_COLUMNS), np.int64))
    if count < 0:
        raise _does_not_fit(signal, found, -1 - count, max_bytes)
    if count == 0:
        raise TooLargeError(
            f"{signal} request: a header at byte 0 has {len(found.body)} bytes; it does not fit in one log record of "
            f"{max_bytes} bytes"
        )
    parts = np.empty((count, kernel.PART_COLUMNS), np.int64)
    kernel.pack(*bounds, parts)
    return [(first, end, size_bytes, items) for first, end, size_bytes, items in parts.tolist()]


def _write(found: _Found, first: int, end: int, room: Any) -> bytes:
    from ingest import split_kernel as kernel  # noqa: PLC0415  see `warm_up`

    begin = kernel.write(
        found.body, found.rows, first, end, found.containers, found.stretches, found.stack, room
    )  # fmt: skip
    part: bytes = room[begin:].tobytes()
    return part


def _does_not_fit(signal: Signal, found: _Found, row: int, max_bytes: int) -> TooLargeError:
    """Names the largest of an item and what encloses it."""
    start, stop, container, is_item = (int(cell) for cell in found.rows[row])
    what, at, size_bytes = (f"one of the {NAMES[signal].item}" if is_item else "a header"), start, stop - start
    while container >= 0:
        parent, _, first, _, header_bytes = (int(cell) for cell in found.containers[container])
        if header_bytes > size_bytes:
            what, at, size_bytes = "a header", int(found.stretches[first][0]), header_bytes
        container = parent
    return TooLargeError(
        f"{signal} request: {what} at byte {at} has {size_bytes} bytes; with what encloses it, it does not fit in one "
        f"log record of {max_bytes} bytes"
    )


def _tags(signal: Signal) -> Any:
    """UInt8 (levels, 256): 1 where a tag holds what is below a level."""
    tags = np.zeros((len(CHILDREN[signal]), 256), np.uint8)
    for level, children in enumerate(CHILDREN[signal]):
        tags[level, sorted(children)] = 1
    tags.setflags(write=False)
    return tags


_TAGS: Final = {signal: _tags(signal) for signal in Signal}
