"""Values as text, as the OpenTelemetry ClickHouse exporter has them, in the scratch end of the batch's byte array.

Integers in decimal; doubles as Go's encoding/json writes them (ES6 number format); arrays and key-value lists as
compact JSON with sorted keys, the last of equal keys winning; bytes in base64. Strings are not copied: they stay where
they are.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from schemas.wire import BROKEN, PADDING, compiled, double_of, fixed64, length, skip, varint

# Cells of the `state` array that every function here shares. Whoever finds its array full writes the array's
# number to OVERFLOW: the caller grows that one and starts the batch again, so that no value is cut.
SCRATCH, SCRATCH_END, OVERFLOW, WORK = 0, 1, 2, 3
STATE_CELLS = 4
SCRATCH_BYTES, WORK_CELLS, KEYS, VALUES, RESOURCES, RESOURCE_ENTRIES, SCOPES, SCOPE_ENTRIES, ITEMS = range(1, 10)
ENTRIES, EVENTS, EVENT_ENTRIES, LINKS, LINK_ENTRIES, METRICS = range(10, 16)
POINTS, POINT_ENTRIES, BUCKETS, EXEMPLARS, EXEMPLAR_ENTRIES = range(16, 21)
ARRAYS = 21
MAX_DEPTH = 32
ROOM = 128
NOTHING, STRING, BOOL, INT, DOUBLE, ARRAY, MAP, BYTES = 0, 1, 2, 3, 4, 5, 6, 7

# libc's own conversions: correctly rounded, present on every platform that numba serves, and linked by name, which
# keeps the compiled code cacheable.
_gcvt = types.ExternalFunction("gcvt", types.uintp(types.float64, types.intc, types.uintp))
_strtod = types.ExternalFunction("strtod", types.float64(types.uintp, types.uintp))

_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", dtype=np.uint8)
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_WORDS = np.frombuffer(b'falsetruenull"NaN""Infinity""-Infinity"', dtype=np.uint8)


@compiled
def reserve(state, size):
    """Room for `size` bytes plus padding in the scratch; its position, or -1 with OVERFLOW set."""
    at = state[SCRATCH]
    if at + size + PADDING > state[SCRATCH_END]:
        state[OVERFLOW] = SCRATCH_BYTES
        return np.int64(-1)
    return at


@compiled
def _put_word(buffer, at, first, size):
    for i in range(size):
        buffer[at + i] = _WORDS[first + i]
    return at + size


@compiled
def put_int(buffer, at, value):
    """Decimal digits of an Int64 at `at`; the position after them."""
    magnitude = np.uint64(value)
    if value < 0:
        buffer[at] = 45
        at += 1
        magnitude = np.uint64(0) - magnitude
    digits = 1
    rest = magnitude
    while rest >= np.uint64(10):
        rest //= np.uint64(10)
        digits += 1
    for i in range(digits):
        buffer[at + digits - 1 - i] = np.uint8(48) + np.uint8(magnitude % np.uint64(10))
        magnitude //= np.uint64(10)
    return at + digits


@compiled
def _shorten_power_of_two(buffer, text, value):
    # Doubles lie twice as far apart above a power of two as below: a decimal of 16 digits above may read back as it
    # while the nearest one, which lies below, does not. So the 17 digits are tried rounded up to 16.
    last = text
    i = text
    while buffer[i] != 0 and buffer[i] != 101:
        if buffer[i] >= 48:
            last = i
        i += 1
    before = last - 2 if buffer[last - 1] == 46 else last - 1
    # A 9 would carry and leave fewer than 16 digits, all of which were tried.
    if buffer[before] == 57:
        return
    kept = buffer[last]
    buffer[last] = 48
    buffer[before] += np.uint8(1)
    if _strtod(buffer.ctypes.data + np.uintp(text), np.uintp(0)) != value:
        buffer[last] = kept
        buffer[before] -= np.uint8(1)


@compiled
def put_double(buffer, at, value):
    """The shortest decimal that reads back as `value`, in ES6 format; needs ROOM bytes. Finite values only."""
    if value == np.floor(value) and abs(value) < 1e15:
        if value == 0.0:
            if np.signbit(value):
                buffer[at] = 45
                at += 1
            buffer[at] = 48
            return at + 1
        return put_int(buffer, at, np.int64(value))
    # The conversion's own text and its digits stand in the same room, past the longest result (32 bytes).
    text, digits = at + 40, at + 96
    # A subnormal has fewer than 15 significant digits, so the shortest text may be shorter than 15 digits trimmed.
    for precision in range(1 if abs(value) < 2.3e-308 else 15, 18):
        _gcvt(value, precision, buffer.ctypes.data + np.uintp(text))
        if _strtod(buffer.ctypes.data + np.uintp(text), np.uintp(0)) == value:
            break
    if precision == 17 and abs(math.frexp(value)[0]) == 0.5:
        _shorten_power_of_two(buffer, text, value)
    # digits and point_at: value = 0.DIGITS x 10^point_at
    count, point_at, seen_point, i = 0, 0, False, text
    if buffer[text] == 45:
        buffer[at] = 45
        at += 1
        i += 1
    while buffer[i] != 0 and buffer[i] != 101:
        if buffer[i] == 46:
            seen_point = True
        elif count == 0 and buffer[i] == 48:
            if seen_point:
                point_at -= 1
        else:
            buffer[digits + count] = buffer[i]
            count += 1
            if not seen_point:
                point_at += 1
        i += 1
    if buffer[i] == 101:
        negative = buffer[i + 1] == 45
        i += 2
        exponent = 0
        while buffer[i] != 0:
            exponent = exponent * 10 + np.int64(buffer[i]) - 48
            i += 1
        point_at += -exponent if negative else exponent
    while count > 1 and buffer[digits + count - 1] == 48:
        count -= 1
    magnitude = abs(value)
    if magnitude < 1e-6 or magnitude >= 1e21:
        buffer[at] = buffer[digits + 0]
        at += 1
        if count > 1:
            buffer[at] = 46
            at += 1
            for k in range(1, count):
                buffer[at] = buffer[digits + k]
                at += 1
        buffer[at] = 101
        buffer[at + 1] = 43 if point_at > 0 else 45
        return put_int(buffer, at + 2, np.int64(abs(point_at - 1)))
    if point_at <= 0:
        buffer[at] = 48
        buffer[at + 1] = 46
        at += 2
        for _ in range(-point_at):
            buffer[at] = 48
            at += 1
        for k in range(count):
            buffer[at] = buffer[digits + k]
            at += 1
        return at
    for k in range(max(count, point_at)):
        if k == point_at:
            buffer[at] = 46
            at += 1
        buffer[at] = buffer[digits + k] if k < count else np.uint8(48)
        at += 1
    return at


@compiled
def put_base64(buffer, at, start, stop):
    """Standard base64 with padding of buffer[start:stop]; the position after it."""
    while stop - start >= 3:
        a, b, c = np.int64(buffer[start]), np.int64(buffer[start + 1]), np.int64(buffer[start + 2])
        buffer[at] = _BASE64[a >> 2]
        buffer[at + 1] = _BASE64[((a & 3) << 4) | (b >> 4)]
        buffer[at + 2] = _BASE64[((b & 15) << 2) | (c >> 6)]
        buffer[at + 3] = _BASE64[c & 63]
        start += 3
        at += 4
    if stop > start:
        a = np.int64(buffer[start])
        b = np.int64(buffer[start + 1]) if stop - start == 2 else 0
        buffer[at] = _BASE64[a >> 2]
        buffer[at + 1] = _BASE64[((a & 3) << 4) | (b >> 4)]
        buffer[at + 2] = _BASE64[(b & 15) << 2] if stop - start == 2 else np.uint8(61)
        buffer[at + 3] = 61
        at += 4
    return at


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
def any_value(buffer, p, end):
    """What an AnyValue holds: (kind, first, second, ok).

    first and second are the byte range of strings, bytes, arrays and maps; first is the integer, the 0 or 1, or the
    bits of the double. The last field wins, as in every protobuf oneof. `ok` is False for malformed bytes.
    """
    kind, first, second = NOTHING, np.int64(0), np.int64(0)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x0A):
            kind = STRING
            first, p = length(buffer, p, end)
            second = p
        elif tag == np.uint64(0x18):
            kind = INT
            value, p = varint(buffer, p, end)
            first = np.int64(value)
        elif tag == np.uint64(0x10):
            kind = BOOL
            value, p = varint(buffer, p, end)
            first = np.int64(value != np.uint64(0))
        elif tag == np.uint64(0x21):
            kind = DOUBLE
            value, p = fixed64(buffer, p, end)
            first = np.int64(value)
        elif tag == np.uint64(0x2A) or tag == np.uint64(0x32) or tag == np.uint64(0x3A):
            kind = np.int64(tag >> np.uint64(3))
            first, p = length(buffer, p, end)
            second = p
        else:
            p = skip(buffer, p, end, tag & np.uint64(7)) if tag > np.uint64(7) else BROKEN
    return kind, first, second, p == end


@compiled
def key_and_value(buffer, p, end):
    """The ranges in a KeyValue: (key start, key stop, value start, value stop, ok); a missing part is empty."""
    key, key_stop, value, value_stop = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x0A):
            key, p = length(buffer, p, end)
            key_stop = p
        elif tag == np.uint64(0x12):
            value, p = length(buffer, p, end)
            value_stop = p
        else:
            p = skip(buffer, p, end, tag & np.uint64(7)) if tag > np.uint64(7) else BROKEN
    return key, key_stop, value, value_stop, p == end


@compiled
def _put_scalar(buffer, kind, first, second, state):
    # NaN and infinities inside arrays and maps become the strings of the protobuf JSON mapping, where Go's encoder
    # gives up and the exporter stores an empty string: losing the whole value is the worse choice.
    room = np.int64(ROOM)
    if kind == STRING:
        room = 6 * (second - first) + 2
    elif kind == BYTES:
        room = (second - first) // 3 * 4 + 8
    at = reserve(state, room)
    if at < 0:
        return False
    if kind == STRING:
        at = _put_json_string(buffer, at, first, second)
    elif kind == INT:
        at = put_int(buffer, at, first)
    elif kind == BOOL:
        at = _put_word(buffer, at, 5, 4) if first else _put_word(buffer, at, 0, 5)
    elif kind == DOUBLE:
        at = _put_any_double(buffer, at, first, 1)
    elif kind == BYTES:
        buffer[at] = 34
        at = put_base64(buffer, at + 1, first, second)
        buffer[at] = 34
        at += 1
    else:
        at = _put_word(buffer, at, 9, 4)
    state[SCRATCH] = at
    return True


@compiled
def _put_any_double(buffer, at, bits, quoted):
    value = double_of(bits)
    if np.isfinite(value):
        return put_double(buffer, at, value)
    inside = 2 * (1 - quoted)
    if np.isnan(value):
        return _put_word(buffer, at, 14 - quoted, 5 - inside)
    if value > 0:
        return _put_word(buffer, at, 19 - quoted, 10 - inside)
    return _put_word(buffer, at, 29 - quoted, 11 - inside)


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
            p = skip(buffer, p, end, tag & np.uint64(7)) if tag > np.uint64(7) else BROKEN
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
                        at = skip(buffer, at, stop, tag & np.uint64(7)) if tag > np.uint64(7) else BROKEN
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
        room = (second - first) // 3 * 4 + 8
    start = reserve(state, room)
    if start < 0:
        return np.int64(0), np.int64(-1)
    if kind == INT:
        at = put_int(buffer, start, first)
    elif kind == BOOL:
        at = _put_word(buffer, start, 5, 4) if first else _put_word(buffer, start, 0, 5)
    elif kind == BYTES:
        at = put_base64(buffer, start, first, second)
    else:
        at = _put_any_double(buffer, start, first, 0)
    state[SCRATCH] = at
    return start, at - start
