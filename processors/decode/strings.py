"""Strings without copies: Arrow views into the batch's byte array, and interning of the ones that repeat.

A view is Arrow's 16-byte `string_view`, kept as two UInt64: the length and first four bytes, then either eight more
inline bytes (strings of at most 12) or buffer index 0 and the position. Source: the Arrow columnar format,
variable-size binary view layout.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from processors.arena import Arena
from processors.decode.space import OVERFLOW
from schemas.wire import compiled, folded_product, inlined, load_u32, load_u64

Array = np.ndarray[Any, Any]
INLINE_BYTES = 12
# Drawn at each start, so that no sender can make strings that all hash alike; what is decoded does not depend on it.
_SECRET = int.from_bytes(os.urandom(8), "little") >> 1


class Interned(NamedTuple):
    """An open-addressing set of byte strings of the batch: code -> position, size; and which code last followed a code.

    `used` holds how many there are, the number of the array (as every `used`), and the secret of the hash.
    `successor` predicts: senders write the same keys in the same order, so most look-ups are one comparison, no hash.
    """

    slots: Array
    position: Array
    size: Array
    hashed: Array
    successor: Array
    used: Array


def used(number: int) -> Array:
    """The cells that say how much of an array is used, and which array it is when it overflows."""
    return np.array([0, number], np.int64)


def interned(arena: Arena, capacity: int, number: int) -> Interned:
    """An empty set for `capacity` strings (a power of two); `number` is the array's."""
    slots, successor = arena.empty(4 * capacity, np.int32), arena.empty(capacity + 1, np.int32)
    slots.fill(-1)
    successor.fill(0)
    return Interned(
        slots,
        arena.empty(capacity, np.int64),
        arena.empty(capacity, np.int64),
        arena.empty(capacity, np.uint64),
        successor,
        np.array([0, number, _SECRET], np.int64),
    )


@inlined
def same_bytes(buffer, a, b, size):
    """Whether buffer[a:a+size] equals buffer[b:b+size], eight bytes at a time."""
    done = np.int64(0)
    while size - done >= 8:
        if load_u64(buffer, a + done) != load_u64(buffer, b + done):
            return False
        done += 8
    rest = np.uint64(8 * (size - done))
    if rest == np.uint64(0):
        return True
    difference = load_u64(buffer, a + done) ^ load_u64(buffer, b + done)
    return difference << (np.uint64(64) - rest) == np.uint64(0)


@compiled
def _hash(buffer, start, size, secret):
    # Both halves of the product of each word with a constant, as in wyhash; the secret makes collisions unforeseeable.
    value = secret ^ np.uint64(size)
    done = np.int64(0)
    while size - done >= 8:
        value = folded_product(value ^ load_u64(buffer, start + done), np.uint64(0xA0761D6478BD642F))
        done += 8
    if done < size:
        rest = np.uint64(64 - 8 * (size - done))
        value = folded_product(value ^ (load_u64(buffer, start + done) << rest), np.uint64(0xE7037ED1A0B428DB))
    return folded_product(value ^ secret, np.uint64(0x8EBC6AF09C88C6E3))


@compiled
def intern(buffer, start, size, strings, state):
    """The code of buffer[start:start+size]; -1 with OVERFLOW set when the set is full."""
    value = _hash(buffer, start, size, np.uint64(strings.used[2]))
    mask = np.uint64(strings.slots.size - 1)
    slot = value & mask
    while True:
        code = strings.slots[slot]
        if code < 0:
            break
        if (
            strings.hashed[code] == value
            and strings.size[code] == size
            and same_bytes(buffer, strings.position[code], start, size)
        ):
            return np.int64(code)
        slot = (slot + np.uint64(1)) & mask
    new = strings.used[0]
    if new >= strings.position.size:
        state[OVERFLOW] = strings.used[1]
        return np.int64(-1)
    strings.slots[slot] = new
    strings.position[new], strings.size[new], strings.hashed[new] = start, size, value
    strings.used[0] = new + 1
    return new


@inlined
def expected(buffer, start, size, strings, previous):
    """The code that last followed `previous` (-1 at the start of a row), if that is this string; -1 otherwise."""
    guess = np.int64(strings.successor[previous + 1])
    if (
        guess < strings.used[0]
        and strings.size[guess] == size
        and same_bytes(buffer, strings.position[guess], start, size)
    ):
        return guess
    return np.int64(-1)


@inlined
def intern_after(buffer, start, size, strings, state, previous):
    """As `intern`, trying first the code that is expected after `previous`."""
    code = expected(buffer, start, size, strings, previous)
    if code >= 0:
        return code
    code = intern(buffer, start, size, strings, state)
    if code >= 0:
        strings.successor[previous + 1] = code
    return code


@inlined
def put_view(views, row, buffer, start, size):
    """Write the view of buffer[start:start+size] as row `row` of `views` (two UInt64 a row)."""
    first = load_u32(buffer, start)
    if size > INLINE_BYTES:
        views[2 * row] = np.uint64(size) | (first << np.uint64(32))
        views[2 * row + 1] = np.uint64(start) << np.uint64(32)
    elif size >= 4:
        views[2 * row] = np.uint64(size) | (first << np.uint64(32))
        rest = np.uint64(8 * (size - 4))
        second = load_u64(buffer, start + 4)
        if rest < np.uint64(64):
            second &= (np.uint64(1) << rest) - np.uint64(1)
        views[2 * row + 1] = second
    else:
        first &= (np.uint64(1) << np.uint64(8 * size)) - np.uint64(1)
        views[2 * row] = np.uint64(size) | (first << np.uint64(32))
        views[2 * row + 1] = np.uint64(0)


@compiled
def put_interned(buffer, strings, views):
    """The views of all interned strings, by code."""
    for code in range(strings.used[0]):
        put_view(views, code, buffer, strings.position[code], strings.size[code])


def texts(buffer: Array, strings: Interned) -> pa.BinaryArray:
    """The interned strings by code."""
    count = int(strings.used[0])
    views = np.empty(2 * count, np.uint64)
    put_interned(buffer, strings, views)
    return pa.Array.from_buffers(pa.binary_view(), count, [None, pa.py_buffer(views), pa.py_buffer(buffer)]).cast(
        pa.binary()
    )
