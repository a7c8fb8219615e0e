"""Values as text, as the OpenTelemetry ClickHouse exporter has them, in the scratch end of the batch's byte array.

Strings are not copied: they stay where they are.
"""

from __future__ import annotations

import numpy as np

from processors.decode.any_value import ARRAY, BOOL, BYTES, INT, MAP, NOTHING, STRING, any_value
from processors.decode.json_text import json_text
from processors.decode.marks import MARK_BYTES, is_text, put_mark
from processors.decode.numbers import ROOM, put_any_double, put_base64, put_bool, put_int
from processors.decode.space import MARK, MARKED, SCRATCH, reserve
from schemas.wire import compiled, copy_bytes


@compiled
def _marked_text(buffer, first, second, state):
    size = second - first
    start = reserve(state, 3 * MARK_BYTES + size + size // 3 * 4 + 8)
    if start < 0:
        return np.int64(0), np.int64(-1)
    at = put_mark(buffer, start, state)
    copy_bytes(buffer, at, buffer, first, size)
    at = put_mark(buffer, at + size, state)
    at = put_base64(buffer, at, first, second)
    at = put_mark(buffer, at, state)
    state[SCRATCH], state[MARKED] = at, 1
    return start, at - start


@compiled
def value_text(buffer, p, end, state, work):
    """An AnyValue as text: (start, size) in the array, size -1 for malformed bytes or with OVERFLOW set."""
    kind, first, second, ok = any_value(buffer, p, end)
    if not ok:
        return np.int64(0), np.int64(-1)
    if kind == STRING:
        return first, second - first
    if kind == NOTHING:
        return np.int64(0), np.int64(0)
    if kind in (ARRAY, MAP):
        start = state[SCRATCH]
        if not json_text(buffer, p, end, state, work):
            return np.int64(0), np.int64(-1)
        return start, state[SCRATCH] - start
    room = np.int64(ROOM)
    if kind == BYTES:
        if state[MARK] != 0 and is_text(buffer, first, second):
            return _marked_text(buffer, first, second, state)
        room = (second - first) // 3 * 4 + 8
    start = reserve(state, room)
    if start < 0:
        return np.int64(0), np.int64(-1)
    if kind == INT:
        at = put_int(buffer, start, first)
    elif kind == BOOL:
        at = put_bool(buffer, start, first)
    elif kind == BYTES:
        at = put_base64(buffer, start, first, second)
    else:
        at = put_any_double(buffer, start, first, 0)
    state[SCRATCH] = at
    return start, at - start
