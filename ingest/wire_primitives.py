"""Reading the wire format, compiled, by the strict rules of validation and never past the end of the array.

`schemas.wire` reads the same format faster, from padded copies of bytes that were validated.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.wire import load_u64

HIGH_BITS = np.uint64(0x8080808080808080)
ZERO = np.uint64(0)


@njit(nogil=True, cache=True)
def _utf8_rest(body, p, end):
    while p < end:
        c = body[p]
        if c < 0x80:
            p += 1
        elif c < 0xC2:
            return False
        elif c < 0xE0:
            if end - p < 2 or body[p + 1] & 0xC0 != 0x80:
                return False
            p += 2
        elif c < 0xF0:
            if end - p < 3 or body[p + 1] & 0xC0 != 0x80 or body[p + 2] & 0xC0 != 0x80:
                return False
            if (c == 0xE0 and body[p + 1] < 0xA0) or (c == 0xED and body[p + 1] > 0x9F):
                return False
            p += 3
        elif c < 0xF5:
            if end - p < 4 or body[p + 1] & 0xC0 != 0x80 or body[p + 2] & 0xC0 != 0x80 or body[p + 3] & 0xC0 != 0x80:
                return False
            if (c == 0xF0 and body[p + 1] < 0x90) or (c == 0xF4 and body[p + 1] > 0x8F):
                return False
            p += 4
        else:
            return False
    return True


@njit(nogil=True, cache=True, forceinline=True)
def is_utf8(body, p, end, size):
    """Eight bytes at a time while they are ASCII. A load never passes `size`, the end of the array."""
    while end - p >= 8:
        if load_u64(body, p) & HIGH_BITS != ZERO:
            return _utf8_rest(body, p, end)
        p += 8
    if p == end:
        return True
    if p + 8 <= size and (load_u64(body, p) & HIGH_BITS) << np.uint64(64 - 8 * (end - p)) == ZERO:
        return True
    return _utf8_rest(body, p, end)


@njit(nogil=True, cache=True, forceinline=True)
def past_varint(body, p, end):
    """The position after a varint; -1 when it is truncated, over 10 bytes or over 64 bits."""
    stop = min(end, p + 10)
    q = p
    while q < stop:
        c = body[q]
        q += 1
        if c < 128:
            return -1 if q - p == 10 and c > 1 else q
    return -1


@njit(nogil=True, cache=True, forceinline=True)
def prefix(body, p, end):
    """A tag or length, at most 5 bytes and 32 bits: (value, position after it); (-1, p) when it is neither."""
    if p < end and body[p] < 128:
        return np.int64(body[p]), p + 1
    value = np.int64(0)
    shift = 0
    stop = min(end, p + 5)
    q = p
    while q < stop:
        c = np.int64(body[q])
        q += 1
        value |= (c & 127) << shift
        if c < 128:
            return (value, q) if value < 1 << 32 else (np.int64(-1), p)
        shift += 7
    return np.int64(-1), p


@njit(nogil=True, cache=True, forceinline=True)
def is_plain_attribute(body, p, stop, size):
    """Whether a KeyValue is just what nearly all are: a short key, then a string, bool, integer or double, all right.

    A shortcut past the table for three quarters of all fields: what it says no to takes the long way.
    """
    if stop - p < 4 or body[p] != 0x0A or body[p + 1] > 127:
        return False
    value = p + 2 + np.int64(body[p + 1])
    if stop - value < 4 or body[value] != 0x12 or body[value + 1] > 127:
        return False
    if np.int64(body[value + 1]) != stop - value - 2:
        return False
    tag = body[value + 2]
    if tag == 0x0A:
        # This length is below 127, because the one around it is.
        if np.int64(body[value + 3]) != stop - value - 4 or not is_utf8(body, value + 4, stop, size):
            return False
    elif tag in (0x10, 0x18):
        if past_varint(body, value + 3, stop) != stop:
            return False
    elif tag != 0x21 or stop - value != 11:
        return False
    return is_utf8(body, p + 2, value, size)
