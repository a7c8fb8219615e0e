"""Decoded rows as Arrow arrays, without copying: views point into the batch's bytes, dictionaries are shared."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.decode.attributes import Attributes, sort_shared, sort_space, sort_views
from processors.decode.frame import Groups
from processors.decode.no_pandas import look_in_vain
from processors.decode.strings import Array, Interned, texts

look_in_vain()

MAX_TIME_NS = np.uint64(2**63 - 1)


def numbers(values: Array) -> pa.Array:
    """A numeric array over the same memory."""
    return pa.array(values)


def coded(codes: Array, dictionary: pa.Array) -> pa.Array:
    """A dictionary array; no check of the codes, which are ours."""
    return pa.DictionaryArray.from_arrays(pa.array(codes), dictionary, safe=False)


def fixed(values: Array, rows: int, width: int) -> pa.Array:
    """Ids: `width` bytes a row, null where all are zero (OTLP: an all-zero id is no id)."""
    words = values[: rows * width].view(np.uint64).reshape(rows, width // 8)
    present = words.any(axis=1)
    bitmap = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(width), rows, [bitmap, pa.py_buffer(values[: rows * width])])


def lists(offsets: Array, child: pa.Array) -> pa.Array:
    """A list array with Int32 offsets."""
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), child)


def times(values: Array, fallback: Array) -> pa.Array:
    """Unix nanoseconds as Int64: where a value is 0 or past the year 2262, `fallback` stands in."""
    return pa.array(time_values(values, fallback))


def time_values(values: Array, fallback: Array) -> Array:
    """As `times`, as a NumPy array."""
    usable = (values != 0) & (values <= MAX_TIME_NS)
    signed = values.view(np.int64)
    return signed if usable.all() else np.where(usable, signed, fallback)


class Columns:
    """What the columns of one decoded batch share: its bytes, its key dictionary and its value dictionary.

    Keys are renumbered by their sort order, so that sorting a map's entries is sorting small integers.
    """

    def __init__(self, buffer: Array, keys: Interned, values: Interned) -> None:
        self._bytes = pa.py_buffer(buffer)
        key_texts = texts(buffer, keys)
        order = pc.sort_indices(key_texts)
        self._rank = np.empty(max(len(order), 1), np.uint32)
        self._rank[order.to_numpy()] = np.arange(len(order), dtype=np.uint32)
        self.keys = key_texts.take(order).view(pa.string())
        self.values = texts(buffer, values).view(pa.string())

    def views(self, views: Array, rows: int) -> pa.Array:
        """A string_view array of the first `rows` rows."""
        return pa.Array.from_buffers(pa.string_view(), rows, [None, pa.py_buffer(views[: 2 * rows]), self._bytes])

    def maps(self, offsets: Array, rows: int, entries: Attributes) -> pa.Array:
        """map<dictionary, string_view>: sorts the entries in place, so call it once for each set of entries."""
        count = int(entries.used[0])
        sort_views(offsets, rows, entries.keys, entries.views, self._rank, *sort_space(offsets, rows))
        return pa.MapArray.from_arrays(
            pa.array(offsets[: rows + 1].astype(np.int32)),
            coded(entries.keys[:count], self.keys),
            self.views(entries.views, count),
        )

    def shared_maps(self, groups: Groups) -> pa.Array:
        """map<dictionary, dictionary>, a row per group: sorts the entries in place, so call it once."""
        rows, entries = int(groups.used[0]), groups.attributes
        sort_shared(groups.first, rows, entries.keys, entries.values, self._rank, *sort_space(groups.first, rows))
        count = int(entries.used[0])
        return pa.MapArray.from_arrays(
            pa.array(groups.first[: rows + 1].astype(np.int32)),
            coded(entries.keys[:count], self.keys),
            coded(entries.values[:count], self.values),
        )

    def attribute_codes(self, groups: Groups, *names: bytes) -> Array:
        """For each group the value code of the first of `names` that it has; 0, the empty string, where it has none.

        Call it after `shared_maps`, which renumbers the keys.
        """
        return value_codes(
            groups, *(pc.index(self.keys, pa.scalar(name.decode(), pa.string())).as_py() for name in names)
        )


def value_codes(groups: Groups, *keys: int) -> Array:
    """For each group the value code of the first of the key codes `keys` that it has; 0 where it has none."""
    rows, entries = int(groups.used[0]), groups.attributes
    result = np.zeros(rows, np.uint32)
    used = entries.keys[: int(entries.used[0])]
    for key in reversed(keys):
        # Backwards, so that of equal keys the first stands, which is also what the store's `map[key]` finds.
        at = np.flatnonzero(used == key)[::-1]
        result[np.searchsorted(groups.first[: rows + 1], at, side="right") - 1] = entries.values[at]
    return result


def of_group(codes: Array, groups: Array) -> Array:
    """A group's value for each row, as UInt32 codes or numbers."""
    return codes.astype(np.uint32, copy=False)[groups]
