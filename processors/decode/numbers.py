"""Scalars as text: integers in decimal, doubles as Go's encoding/json writes them (ES6 format), bytes in base64."""

from __future__ import annotations

import math

import numpy as np
from numba import types

from schemas.wire import compiled, double_of

# The most that a number or a word takes, the working space of its conversion included.
ROOM = 128

# libc's own conversions: correctly rounded, present on every platform that numba serves, and linked by name, which
# keeps the compiled code cacheable.
_gcvt = types.ExternalFunction("gcvt", types.uintp(types.float64, types.intc, types.uintp))
_strtod = types.ExternalFunction("strtod", types.float64(types.uintp, types.uintp))

_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", dtype=np.uint8)
_WORDS = np.frombuffer(b'falsetruenull"NaN""Infinity""-Infinity"', dtype=np.uint8)


@compiled
def _put_word(buffer, at, first, size):
    for i in range(size):
        buffer[at + i] = _WORDS[first + i]
    return at + size


@compiled
def put_bool(buffer, at, value):
    """`true` or `false`; the position after it."""
    return _put_word(buffer, at, 5, 4) if value else _put_word(buffer, at, 0, 5)


@compiled
def put_null(buffer, at):
    """`null`; the position after it."""
    return _put_word(buffer, at, 9, 4)


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
def put_any_double(buffer, at, bits, quoted):
    """The double with these bits, NaN and infinities by name, in quotes when `quoted` is 1; the position after it."""
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
