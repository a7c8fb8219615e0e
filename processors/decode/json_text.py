"""AnyValue arrays and key-value lists as compact JSON: sorted keys, the last of equal keys winning."""

from __future__ import annotations

import numpy as np

from processors.decode.any_value import ARRAY, BOOL, BYTES, DOUBLE, INT, MAP, STRING, any_value, key_and_value
from processors.decode.marks import MARK_BYTES, is_text, put_mark
from processors.decode.numbers import ROOM, put_any_double, put_base64, put_bool, put_int, put_null
from processors.decode.space import MARK, MARKED, OVERFLOW, SCRATCH, WORK, WORK_CELLS, reserve
from schemas.wire import compiled, length, skip_field, varint

MAX_DEPTH = 32
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


@compiled
def _put_json_string(buffer, at, start, stop):
    # RFC 8259 with Go's choices: \b \f \n \r \t short, other controls and U+2028/9 as \u; the rest as it is.
    buffer[at] = 34
    at += 1
    p = start
    while p < stop:
        c = buffer[p]
        short = np.uint8(0)
        if c in (34, 92):
            short = c
        elif c == 8:
            short = 98
        elif c == 12:
            short = 102
        elif c == 10:
            short = 110
        elif c == 13:
            short = 114
        elif c == 9:
            short = 116
        if short != 0:
            buffer[at] = 92
            buffer[at + 1] = short
            at += 2
        elif c < 32:
            for i, code in enumerate((92, 117, 48, 48)):
                buffer[at + i] = code
            buffer[at + 4] = _HEX[c >> 4]
            buffer[at + 5] = _HEX[c & 15]
            at += 6
        elif c == 0xE2 and p + 2 < stop and buffer[p + 1] == 0x80 and (buffer[p + 2] & 0xFE) == 0xA8:
            for i, code in enumerate((92, 117, 50, 48, 50)):
                buffer[at + i] = code
            buffer[at + 5] = np.uint8(56) + (buffer[p + 2] & np.uint8(1))
            at += 6
            p += 2
        else:
            buffer[at] = c
            at += 1
        p += 1
    buffer[at] = 34
    return at + 1


@compiled
def _key_less(buffer, a, a_stop, b, b_stop):
    while a < a_stop and b < b_stop:
        if buffer[a] != buffer[b]:
            return buffer[a] < buffer[b]
        a += 1
        b += 1
    return a_stop - a < b_stop - b


@compiled
def _put_json_base64(buffer, at, start, stop):
    buffer[at] = 34
    at = put_base64(buffer, at + 1, start, stop)
    buffer[at] = 34
    return at + 1


@compiled
def _put_marked(buffer, start, stop, state):
    size = stop - start
    at = reserve(state, 3 * MARK_BYTES + 6 * size + 2 + size // 3 * 4 + 8)
    if at < 0:
        return False
    at = _put_json_string(buffer, put_mark(buffer, at, state), start, stop)
    at = _put_json_base64(buffer, put_mark(buffer, at, state), start, stop)
    state[SCRATCH], state[MARKED] = put_mark(buffer, at, state), 1
    return True


@compiled
def _put_scalar(buffer, kind, first, second, state):
    # NaN and infinities inside arrays and maps become the strings of the protobuf JSON mapping, where Go's encoder
    # gives up and the exporter stores an empty string: losing the whole value is the worse choice.
    room = np.int64(ROOM)
    if kind == STRING:
        room = 6 * (second - first) + 2
    elif kind == BYTES:
        if state[MARK] != 0 and is_text(buffer, first, second):
            return _put_marked(buffer, first, second, state)
        room = (second - first) // 3 * 4 + 8
    at = reserve(state, room)
    if at < 0:
        return False
    if kind == STRING:
        at = _put_json_string(buffer, at, first, second)
    elif kind == INT:
        at = put_int(buffer, at, first)
    elif kind == BOOL:
        at = put_bool(buffer, at, first)
    elif kind == DOUBLE:
        at = put_any_double(buffer, at, first, 1)
    elif kind == BYTES:
        at = _put_json_base64(buffer, at, first, second)
    else:
        at = put_null(buffer, at)
    state[SCRATCH] = at
    return True


@compiled
def _put_byte(buffer, state, byte):
    at = reserve(state, np.int64(1))
    if at < 0:
        return False
    buffer[at] = byte
    state[SCRATCH] = at + 1
    return True


@compiled
def _gather_entries(buffer, p, end, state, work):
    # The entries of a KeyValueList as (key, key stop, value, value stop) from state[WORK] on, sorted; how many, or -1.
    base = state[WORK]
    count = np.int64(0)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x0A):
            start, p = length(buffer, p, end)
            if p > end:
                return np.int64(-1)
            key, key_stop, value, value_stop, ok = key_and_value(buffer, start, p)
            if not ok:
                return np.int64(-1)
            cell = base + 4 * count
            if cell + 4 > work.size:
                state[OVERFLOW] = WORK_CELLS
                return np.int64(-1)
            work[cell], work[cell + 1], work[cell + 2], work[cell + 3] = key, key_stop, value, value_stop
            count += 1
        else:
            p = skip_field(buffer, p, end, tag)
    if p != end:
        return np.int64(-1)
    _sort_entries(buffer, work, base, count)
    state[WORK] = base + 4 * count
    return count


@compiled
def json_text(buffer, p, end, state, work):
    """Append an AnyValue as JSON to the scratch; False for malformed or over-deep bytes, or with OVERFLOW set.

    The stack is explicit: a recursive function does not survive the compiler's on-disk cache.
    """
    # The first cells of `work` are the stack. A frame is (kind, next, stop, count of values written); next and stop
    # are byte positions of an array, cells of a map.
    depth = np.int64(0)
    state[WORK] = 4 * MAX_DEPTH
    value, value_stop = np.int64(p), np.int64(end)
    while True:
        kind, first, second, ok = any_value(buffer, value, value_stop)
        if not ok:
            return False
        if kind in (ARRAY, MAP):
            if depth == MAX_DEPTH or not _put_byte(buffer, state, 91 if kind == ARRAY else 123):
                return False
            if kind == MAP:
                base = state[WORK]
                count = _gather_entries(buffer, first, second, state, work)
                if count < 0:
                    return False
                first, second = base, base + 4 * count
            top = 4 * depth
            work[top], work[top + 1], work[top + 2], work[top + 3] = kind, first, second, 0
            depth += 1
        elif not _put_scalar(buffer, kind, first, second, state):
            return False
        found = False
        while depth > 0 and not found:
            top = 4 * depth - 4
            at, stop = work[top + 1], work[top + 2]
            if work[top] == ARRAY:
                while at < stop and not found:
                    tag, at = varint(buffer, at, stop)
                    if tag == np.uint64(0x0A):
                        value, at = length(buffer, at, stop)
                        value_stop = at
                        found = at <= stop
                    else:
                        at = skip_field(buffer, at, stop, tag)
                if at > stop:
                    return False
            else:
                # Of equal keys only the last, which the sort puts last, is written.
                while at + 4 < stop and not _key_less(buffer, work[at], work[at + 1], work[at + 4], work[at + 5]):
                    at += 4
                found = at < stop
            if found and work[top + 3] > 0 and not _put_byte(buffer, state, 44):
                return False
            if found and work[top] == MAP:
                value, value_stop = work[at + 2], work[at + 3]
                if not _put_scalar(buffer, STRING, work[at], work[at + 1], state) or not _put_byte(buffer, state, 58):
                    return False
                at += 4
            if found:
                work[top + 1] = at
                work[top + 3] += 1
            else:
                if not _put_byte(buffer, state, 93 if work[top] == ARRAY else 125):
                    return False
                if work[top] == MAP:
                    state[WORK] = _map_base(work, depth - 1)
                depth -= 1
        if depth == 0:
            return True


@compiled
def _map_base(work, depth):
    # Where the work space of the maps around frame `depth` ends: the next map below it keeps its entries there.
    for i in range(depth - 1, -1, -1):
        if work[4 * i] == MAP:
            return work[4 * i + 2]
    return np.int64(4 * MAX_DEPTH)


@compiled
def _sort_entries(buffer, work, base, count):
    # Shell sort by key, then by position so that the last of equal keys stands last; no quadratic case worth attacking.
    gap = np.int64(1)
    while gap < count // 3:
        gap = 3 * gap + 1
    while gap >= 1:
        for i in range(gap, count):
            a, b, c, d = work[base + 4 * i], work[base + 4 * i + 1], work[base + 4 * i + 2], work[base + 4 * i + 3]
            j = i
            while j >= gap:
                o = base + 4 * (j - gap)
                less = _key_less(buffer, a, b, work[o], work[o + 1])
                if not less and not (
                    b - a == work[o + 1] - work[o] and a < work[o] and not _key_less(buffer, work[o], work[o + 1], a, b)
                ):
                    break
                t = base + 4 * j
                work[t], work[t + 1], work[t + 2], work[t + 3] = work[o], work[o + 1], work[o + 2], work[o + 3]
                j -= gap
            t = base + 4 * j
            work[t], work[t + 1], work[t + 2], work[t + 3] = a, b, c, d
        gap //= 3
