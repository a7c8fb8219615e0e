"""Bytes values that are UTF-8 text, for guards that must read them: both as text and in base64, as they are stored.

Such a value is made `MARK text MARK base64 MARK`, inside the JSON text of a list or map too, so that it goes the way of
every other value; `readings` takes it apart. What is stored has no marks: who asks for them takes them away again.
"""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.decode.space import MARK as MARK_CELL
from schemas.wire import compiled, is_utf8, store_u64

MARK_BYTES = 8
# A text and its base64, with the marks around them, are longer.
LEAST_MARKED_BYTES = 3 * MARK_BYTES
_AT_ONCE = 1 << 15
# Drawn at each start, so that no sender can write it, and begun by a byte that is in no UTF-8. That byte comes once, so
# that a mark cannot overlap another.
MARK = b"\xff" + bytes(byte & 0x7F for byte in os.urandom(MARK_BYTES - 1))
MARK_NUMBER = np.int64(int.from_bytes(MARK, "little"))


@compiled
def is_text(buffer, start, stop):
    """Whether these bytes are text, so that they are marked where there is a mark."""
    return start < stop and is_utf8(buffer, start, stop, np.int64(buffer.size))


@compiled
def put_mark(buffer, at, state):
    """Write the mark; the position after it."""
    store_u64(buffer, at, np.uint64(state[MARK_CELL]))
    return at + MARK_BYTES


def has_mark(texts: pa.Array) -> pa.BooleanArray:
    """Which of the texts hold a marked value."""
    return pc.match_substring(texts, MARK)


def readings(texts: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray]:
    """The texts with marked values as text, and with marked values in base64, as they are stored."""
    if not pc.any(has_mark(texts)).as_py():
        return texts, texts
    # Pieces take some ten times the memory of their texts, and a batch may be all bytes values.
    parts = [_readings(texts.slice(at, _AT_ONCE)) for at in range(0, len(texts), _AT_ONCE)]
    as_text, as_stored = zip(*parts, strict=True)
    return pa.concat_arrays(as_text), pa.concat_arrays(as_stored)


def _readings(texts: pa.StringArray) -> tuple[pa.StringArray, pa.StringArray]:
    # Whole pieces, then a text and its base64, and so on.
    pieces = pc.split_pattern(texts, MARK)
    offsets = pieces.offsets.to_numpy()
    nth = (np.arange(len(pieces.values)) - np.repeat(offsets[:-1], np.diff(offsets))) % 3
    return _without(pieces, nth == 2), _without(pieces, nth == 1)


def stored(texts: pa.StringArray) -> pa.StringArray:
    """The texts as they are stored."""
    return readings(texts)[1]


def _without(pieces: pa.ListArray, left_out: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> pa.StringArray:
    before = np.concatenate([[0], np.cumsum(~left_out)]).astype(np.int32)
    kept = pieces.values.filter(pa.array(~left_out))
    return pc.binary_join(pa.ListArray.from_arrays(pa.array(before[pieces.offsets.to_numpy()]), kept), "")
