"""Attribute lists as map columns: interned keys, values as views, entries sorted by key."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from processors.arena import Arena
from processors.decode.any_value import key_and_value
from processors.decode.space import OVERFLOW
from processors.decode.strings import Array, expected, intern, intern_after, put_view, used
from processors.decode.text import value_text
from schemas.wire import compiled, inlined


class Attributes(NamedTuple):
    """The entries of many maps, one after another. A row's entries lie between two cells of an offsets array."""

    keys: Array
    views: Array
    used: Array


def attributes(arena: Arena, capacity: int, number: int) -> Attributes:
    """Room for `capacity` entries; `number` is the array's."""
    return Attributes(arena.empty(capacity, np.uint32), arena.empty(2 * capacity, np.uint64), used(number))


@inlined
def _put(buffer, code, text, size, into):
    at = into.used[0]
    into.keys[at] = code
    put_view(into.views, at, buffer, text, size)
    into.used[0] = at + 1
    return code


@compiled
def _append_any(buffer, start, stop, into, keys, previous, state, work):
    key, key_stop, value, value_stop, ok = key_and_value(buffer, start, stop)
    if not ok:
        return np.int64(-1)
    code = intern_after(buffer, key, key_stop - key, keys, state, previous)
    if code < 0:
        return code
    if into.used[0] >= into.keys.size:
        state[OVERFLOW] = into.used[1]
        return np.int64(-1)
    text, size = value_text(buffer, value, value_stop, state, work)
    if size < 0:
        return np.int64(-1)
    return _put(buffer, code, text, size, into)


@inlined
def append_entry(buffer, start, stop, into, keys, previous, state, work):
    """Decode one KeyValue into `into`; its key's code, or -1 for malformed bytes or with OVERFLOW set."""
    # Nearly all are a short key, the one that came here last time, and then a short value. They are taken without a
    # call: to pass these arrays takes eighty words on the stack, which was a fifth of decoding (measured).
    key_size = np.int64(buffer[start + 1])
    value = start + 2 + key_size
    if value + 4 <= stop and buffer[start] == 0x0A and buffer[value] == 0x12:
        value_size = stop - value - 2
        short = key_size < 128 and value_size < 128 and value_size == np.int64(buffer[value + 1])
        code = expected(buffer, start + 2, key_size, keys, previous) if short else np.int64(-1)
        if code >= 0 and into.used[0] < into.keys.size:
            text, size = value + 4, value_size - 2
            if buffer[value + 2] != 0x0A or size != np.int64(buffer[value + 3]):
                text, size = value_text(buffer, value + 2, stop, state, work)
                if size < 0:
                    return np.int64(-1)
            return _put(buffer, code, text, size, into)
    return _append_any(buffer, start, stop, into, keys, previous, state, work)


class Shared(NamedTuple):
    """Entries whose values repeat (resource and scope attributes): interned keys and interned values."""

    keys: Array
    values: Array
    used: Array


def shared(arena: Arena, capacity: int, number: int) -> Shared:
    """Room for `capacity` entries; `number` is the array's."""
    return Shared(arena.empty(capacity, np.uint32), arena.empty(capacity, np.uint32), used(number))


@compiled
def append_shared(buffer, start, stop, into, keys, values, previous, state, work):
    """As `append_entry`, with the value interned too."""
    key, key_stop, value, value_stop, ok = key_and_value(buffer, start, stop)
    if not ok:
        return np.int64(-1)
    code = intern_after(buffer, key, key_stop - key, keys, state, previous)
    if code < 0:
        return code
    at = into.used[0]
    if at >= into.keys.size:
        state[OVERFLOW] = into.used[1]
        return np.int64(-1)
    text, size = value_text(buffer, value, value_stop, state, work)
    if size < 0:
        return np.int64(-1)
    value_code = intern(buffer, text, size, values, state)
    if value_code < 0:
        return np.int64(-1)
    into.keys[at] = code
    into.values[at] = value_code
    into.used[0] = at + 1
    return code


@compiled
def _sort_row(start, size, keys, rank, last, order):
    # Fills `order` with the row's permutation by rank, stable, and `last` with its keys; True when it was sorted.
    # Shell sort: rows are short, and no sender can make it quadratic.
    is_sorted = True
    for i in range(size):
        last[i] = keys[start + i]
        order[i] = i
        if i > 0 and rank[last[i]] < rank[last[i - 1]]:
            is_sorted = False
    if is_sorted:
        return True
    gap = np.int64(1)
    while gap < size // 3:
        gap = 3 * gap + 1
    while gap >= 1:
        for i in range(gap, size):
            mine = order[i]
            j = i
            while j >= gap:
                other = order[j - gap]
                if rank[last[other]] < rank[last[mine]] or (rank[last[other]] == rank[last[mine]] and other < mine):
                    break
                order[j] = other
                j -= gap
            order[j] = mine
        gap //= 3
    return False


@compiled
def sort_views(offsets, rows, keys, views, rank, last, order, moved):
    """Sort each row's entries by the rank of their keys, in place and stably, and put the rank in the key's stead.

    Rows mostly repeat the key sequence of the row before: its permutation is then reused. `last`, `order` and `moved`
    are working space for the longest row (`moved` for twice its size).
    """
    last_size = np.int64(-1)
    is_sorted = False
    for row in range(rows):
        start, size = offsets[row], offsets[row + 1] - offsets[row]
        same = size == last_size
        i = np.int64(0)
        while same and i < size:
            same = keys[start + i] == last[i]
            i += 1
        if not same:
            last_size = size
            is_sorted = _sort_row(start, size, keys, rank, last, order)
        if is_sorted:
            for i in range(size):
                keys[start + i] = rank[last[i]]
            continue
        for i in range(size):
            moved[2 * i] = views[2 * (start + i)]
            moved[2 * i + 1] = views[2 * (start + i) + 1]
        for i in range(size):
            o = order[i]
            keys[start + i] = rank[last[o]]
            views[2 * (start + i)] = moved[2 * o]
            views[2 * (start + i) + 1] = moved[2 * o + 1]


@compiled
def sort_shared(offsets, rows, keys, values, rank, last, order, moved):
    """As `sort_views`, for entries with interned values."""
    for row in range(rows):
        start, size = offsets[row], offsets[row + 1] - offsets[row]
        _sort_row(start, size, keys, rank, last, order)
        for i in range(size):
            moved[i] = values[start + i]
        for i in range(size):
            keys[start + i] = rank[last[order[i]]]
            values[start + i] = moved[order[i]]


def sort_space(offsets: Array, rows: int) -> tuple[Array, Array, Array]:
    """Working space for the two functions above."""
    longest = int(np.diff(offsets[: rows + 1]).max(initial=0)) + 1
    return np.empty(longest, np.uint32), np.empty(longest, np.int64), np.empty(2 * longest, np.uint64)
