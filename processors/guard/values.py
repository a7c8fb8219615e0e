"""The values of a column as a rule sees them: distinct texts out, new texts in, without touching the others.

Two forms, as the decoder makes them: views into the batch's bytes (values of their own), and codes into a dictionary
(values that repeat). A view's second word names the buffer that its text lies in: 0 is the batch, 1 what was put here.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.decode.marks import LEAST_MARKED_BYTES, has_mark
from processors.decode.strings import Array
from processors.guard.kernels import put_views_of
from schemas.wire import PADDING

_SIZE = np.uint64(0xFFFFFFFF)


class Values(Protocol):
    """What both forms can do."""

    def distinct(self, at: Array) -> tuple[pa.StringArray, Array]:
        """The distinct texts at these indexes, and for each index which of them it has."""

    def put(self, at: Array, which: Array, texts: pa.StringArray) -> None:
        """Put texts[which[i]] at index at[i]."""

    def take(self, at: Array) -> None:
        """Have the values at these indexes only, in their order."""

    def marked(self) -> Array:
        """The indexes of values that hold marks (processors/decode/marks.py)."""

    def array(self) -> pa.Array:
        """The column as it is now."""


class ViewValues:
    """Values as Arrow views."""

    def __init__(self, array: pa.StringViewArray) -> None:
        _, views, *data = array.buffers()
        count = len(array)
        words = np.frombuffer(views, np.uint64) if count else np.zeros(0, np.uint64)
        self._views = words[2 * array.offset : 2 * (array.offset + count)].reshape(count, 2)
        self._data = data[:1] or [pa.py_buffer(bytes(PADDING))]
        # What was put there before goes on being pointed to.
        self._own = np.frombuffer(data[1], np.uint8) if len(data) > 1 else np.zeros(PADDING, np.uint8)
        self._is_ours = False

    def distinct(self, at: Array) -> tuple[pa.StringArray, Array]:
        """See `Values`."""
        everything = len(at) == len(self._views)
        found = self._array(self._views if everything else self._views[at]).dictionary_encode()
        return found.dictionary.cast(pa.string()), found.indices.to_numpy()

    def put(self, at: Array, which: Array, texts: pa.StringArray) -> None:
        """See `Values`."""
        if not self._is_ours:
            self._views, self._is_ours = self._views.copy(), True
        offsets, data = text_bytes(texts)
        views = np.empty(2 * len(texts), np.uint64)
        put_views_of(offsets, data, len(self._own) - PADDING, views)
        self._own = np.concatenate([self._own[:-PADDING], data])
        self._views[at] = views.reshape(-1, 2)[which]

    def take(self, at: Array) -> None:
        """See `Values`."""
        self._views, self._is_ours = self._views[at], True

    def marked(self) -> Array:
        """See `Values`."""
        # Nearly all values are shorter than three marks.
        at = np.flatnonzero((self._views[:, 0] & _SIZE) > LEAST_MARKED_BYTES)
        texts, which = self.distinct(at)
        holds: Array = has_mark(texts).to_numpy(zero_copy_only=False)
        return np.asarray(at[holds[which]])

    def array(self) -> pa.Array:
        """See `Values`."""
        return self._array(self._views)

    def _array(self, views: Array) -> pa.Array:
        buffers = [None, pa.py_buffer(np.ascontiguousarray(views)), *self._data, pa.py_buffer(self._own)]
        return pa.Array.from_buffers(pa.string_view(), len(views), buffers)


class CodedValues:
    """Values as codes into a dictionary."""

    def __init__(self, array: pa.DictionaryArray) -> None:
        self._codes = array.indices.to_numpy()
        self.dictionary: pa.StringArray = array.dictionary
        self._is_ours = False

    def distinct(self, at: Array) -> tuple[pa.StringArray, Array]:
        """See `Values`."""
        # Not sorted, as np.unique would: what is used of the dictionary, and the number of each used one.
        codes = self._codes[at]
        used = np.zeros(len(self.dictionary), np.bool_)
        used[codes] = True
        return self.dictionary.filter(pa.array(used)), (np.cumsum(used) - 1)[codes]

    def put(self, at: Array, which: Array, texts: pa.StringArray) -> None:
        """See `Values`."""
        if not self._is_ours:
            # Wide enough for what is added, whatever a narrow column's type was.
            self._codes, self._is_ours = self._codes.astype(np.uint32), True
        self.dictionary, codes = with_texts(self.dictionary, texts)
        self._codes[at] = codes[which]

    def take(self, at: Array) -> None:
        """See `Values`."""
        self._codes = self._codes[at]

    def marked(self) -> Array:
        """See `Values`."""
        return np.flatnonzero(has_mark(self.dictionary).to_numpy(zero_copy_only=False)[self._codes])

    def array(self) -> pa.Array:
        """See `Values`."""
        return pa.DictionaryArray.from_arrays(pa.array(self._codes), self.dictionary, safe=False)


def values_of(array: pa.Array) -> Values:
    """The values of a column of either form."""
    return CodedValues(array) if pa.types.is_dictionary(array.type) else ViewValues(array)


def with_texts(dictionary: pa.StringArray, texts: pa.StringArray) -> tuple[pa.StringArray, Array]:
    """The dictionary with those texts that it lacks, none twice, and the code of each of the texts."""
    distinct = texts.dictionary_encode()
    known = pc.index_in(distinct.dictionary, dictionary)
    is_new = known.is_null().to_numpy(zero_copy_only=False)
    codes = np.where(is_new, len(dictionary) + np.cumsum(is_new) - 1, known.fill_null(0).to_numpy())
    more = distinct.dictionary.filter(pa.array(is_new))
    return pa.concat_arrays([dictionary, more]), codes.astype(np.uint32)[distinct.indices.to_numpy()]


def text_bytes(texts: pa.StringArray) -> tuple[Array, Array]:
    """Offsets from 0, and the bytes with padding after them."""
    _, offsets, data = texts.buffers()
    count = len(texts)
    ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + count + 1] if count else np.zeros(1, np.int32)
    first, last = int(ends[0]), int(ends[-1])
    whole = np.zeros(last - first + PADDING, np.uint8)
    if last > first:
        whole[: last - first] = np.frombuffer(data, np.uint8)[first:last]
    return ends - np.int32(first), whole
