"""Compiled loops of the guards: views of new texts, and what identifies a series."""

from __future__ import annotations

import numpy as np

from processors.decode.strings import INLINE_BYTES, put_view
from schemas.wire import compiled, folded_product, load_u64

# Fixed, unlike the secret of interning: a series has the same number in every process, and in the store.
_KEY, _VALUE, _END = np.uint64(0xD6E8FEB86659FD93), np.uint64(0xA0761D6478BD642F), np.uint64(0xE7037ED1A0B428DB)


@compiled
def put_views_of(offsets, data, base, views):
    """The view of each text; those that do not fit into a view lie in buffer 1, from `base` on."""
    for row in range(offsets.size - 1):
        start = np.int64(offsets[row])
        size = np.int64(offsets[row + 1]) - start
        put_view(views, row, data, start, size)
        if size > INLINE_BYTES:
            views[2 * row + 1] = (np.uint64(base + start) << np.uint64(32)) | np.uint64(1)


@compiled
def _hash(data, start, size, value):
    done = np.int64(0)
    value ^= np.uint64(size)
    while size - done >= 8:
        value = folded_product(value ^ load_u64(data, start + done), _VALUE)
        done += 8
    if done < size:
        value = folded_product(value ^ (load_u64(data, start + done) << np.uint64(64 - 8 * (size - done))), _END)
    return value


@compiled
def hash_texts(offsets, data, into):
    """A number for each text, the same in every process."""
    for row in range(offsets.size - 1):
        start = np.int64(offsets[row])
        into[row] = folded_product(_hash(data, start, np.int64(offsets[row + 1]) - start, _KEY), _END)


@compiled
def number_series(of_group, groups, offsets, keys, of_key, views, data, extra, into):
    """A number for each row's series, never 0: of its group, and of its attributes in their order.

    `of_group` and `of_key` are the numbers of groups and of keys, `groups` and `keys` say which a row and an entry has.
    """
    for row in range(offsets.size - 1):
        value = of_group[groups[row]]
        for entry in range(offsets[row], offsets[row + 1]):
            word, rest = views[2 * entry], views[2 * entry + 1]
            size = np.int64(word & np.uint64(0xFFFFFFFF))
            value = folded_product(value ^ of_key[keys[entry]], _KEY)
            if size <= INLINE_BYTES:
                # A short text is in the view itself, wherever it came from.
                value = folded_product(value ^ word, _VALUE)
                value = folded_product(value ^ rest, _END)
            elif rest & np.uint64(0xFFFFFFFF) == np.uint64(0):
                value = _hash(data, np.int64(rest >> np.uint64(32)), size, value)
            else:
                value = _hash(extra, np.int64(rest >> np.uint64(32)), size, value)
        value = folded_product(value ^ _END, _KEY)
        into[row] = value if value != np.uint64(0) else np.uint64(1)


@compiled
def find_series(numbers, slots, secret, found):
    """Which of the numbers the set has. 0 is a free slot; `secret` keeps senders from choosing slots."""
    mask = np.uint64(slots.size - 1)
    for row in range(numbers.size):
        number = numbers[row]
        slot = folded_product(number ^ secret, _VALUE) & mask
        while slots[slot] != np.uint64(0) and slots[slot] != number:
            slot = (slot + np.uint64(1)) & mask
        found[row] = slots[slot] == number


@compiled
def add_series(numbers, groups, slots, of_slot, secret):
    """Add numbers that the set does not have, with their groups; there MUST be room."""
    mask = np.uint64(slots.size - 1)
    for row in range(numbers.size):
        slot = folded_product(numbers[row] ^ secret, _VALUE) & mask
        while slots[slot] != np.uint64(0):
            slot = (slot + np.uint64(1)) & mask
        slots[slot] = numbers[row]
        of_slot[slot] = groups[row]
