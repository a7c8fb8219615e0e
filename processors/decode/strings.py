"""Strings without copies: Arrow views into the batch's byte array, and interning of the ones that repeat.

A view is Arrow's 16-byte `string_view`, kept as two UInt64: the length and first four bytes, then either eight more
inline bytes (strings of at most 12) or buffer index 0 and the position. Source: the Arrow columnar format,
variable-size binary view layout.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from processors.arena import Arena
from processors.decode.text import OVERFLOW
from schemas.wire import compiled, inlined, load_u32, load_u64

Array = np.ndarray[Any, Any]
INLINE_BYTES = 12


class Interned(NamedTuple):
    """An open-addressing set of byte strings of the batch: code -> position, size; and which code last followed a code.

    `successor` predicts: senders write the same keys in the same order, so most look-ups are one comparison, no hash.
    """

    slots: Array
    position: Array
    size: Array
    hashed: Array
    successor: Array
    used: Array


def interned(arena: Arena, capacity: int) -> Interned:
    """An empty set for `capacity` strings (a power of two)."""
    slots, successor = arena.empty(4 * capacity, np.int32), arena.empty(capacity + 1, np.int32)
    slots.fill(-1)
    successor.fill(0)
    return Interned(
        slots,
        arena.empty(capacity, np.int64),
        arena.empty(capacity, np.int64),
        arena.empty(capacity, np.uint64),
        successor,
        np.zeros(1, np.int64),
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
def _hash(buffer, start, size):
    # Multiply-xor over 8-byte words, from a seed of its own: an attacker gains a slow probe sequence at most, and the
    # table is four times its capacity.
    value = np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(size)
    done = np.int64(0)
    while size - done >= 8:
        value = (value ^ load_u64(buffer, start + done)) * np.uint64(0xFF51AFD7ED558CCD)
        value ^= value >> np.uint64(32)
        done += 8
    if done < size:
        rest = np.uint64(64 - 8 * (size - done))
        value = (value ^ (load_u64(buffer, start + done) << rest)) * np.uint64(0xC4CEB9FE1A85EC53)
        value ^= value >> np.uint64(29)
    value *= np.uint64(0x9E3779B97F4A7C15)
    return value ^ (value >> np.uint64(32))


@compiled
def intern(buffer, start, size, strings, state):
    """The code of buffer[start:start+size]; -1 with OVERFLOW set when the set is full."""
    value = _hash(buffer, start, size)
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
        state[OVERFLOW] = 1
        return np.int64(-1)
    strings.slots[slot] = new
    strings.position[new], strings.size[new], strings.hashed[new] = start, size, value
    strings.used[0] = new + 1
    return new


@inlined
def intern_after(buffer, start, size, strings, state, previous):
    """As `intern`, trying first the code that last followed `previous` (-1 at the start of a row)."""
    guess = np.int64(strings.successor[previous + 1])
    if (
        guess < strings.used[0]
        and strings.size[guess] == size
        and same_bytes(buffer, strings.position[guess], start, size)
    ):
        return guess
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


def texts(buffer: Array, strings: Interned) -> list[bytes]:
    """The interned strings by code."""
    count = int(strings.used[0])
    memory = buffer.data
    return [
        bytes(memory[at : at + size])
        for at, size in zip(strings.position[:count].tolist(), strings.size[:count].tolist(), strict=True)
    ]
