"""Reading the wire format, compiled, by the strict rules of validation and never past the end of the array.

`schemas.wire` reads the same format faster, from padded copies of bytes that were validated.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from schemas.wire import is_utf8


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
