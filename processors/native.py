"""Arrow columns to one ClickHouse Native block: the body of `INSERT INTO t (columns) FORMAT Native`.

LowCardinality columns, map keys and repeated map values go out dictionary-encoded, which costs the server half of what
plain strings do (measured). Dictionaries belong to the block: values are numbered in order of appearance, 0 is ''.
Layout: ClickHouse's NativeWriter and SerializationLowCardinality; checked against what the server answers in FORMAT
Native.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from processors.arena import Arena
from schemas.columns import Column
from schemas.wire import PADDING, compiled, copy_bytes, inlined, load_u64, store_u16, store_u64

Array = np.ndarray[Any, Any]
_VARINT_BYTES = 10
# LowCardinality index type in the low byte, then "has additional keys" and "needs update of dictionary".
_DICTIONARY_FLAGS = 0x600
_WIDTHS = ((1 << 8, 0, np.uint8), (1 << 16, 1, np.uint16), (1 << 32, 2, np.uint32))
_HEX_PAIRS = np.array([int.from_bytes(f"{byte:02x}".encode(), "little") for byte in range(256)], np.uint16)


@inlined
def _put_varint(out, at, value):
    while value >= 128:
        out[at] = np.uint8(value & 127) | np.uint8(128)
        value >>= 7
        at += 1
    out[at] = np.uint8(value)
    return at + 1


@compiled
def put_views(views, data, extra, out, at):
    """String column from Arrow views into two buffers; the position after it, or -1 when `out` is too small."""
    for row in range(views.size // 2):
        word, rest = views[2 * row], views[2 * row + 1]
        size = np.int64(word & np.uint64(0xFFFFFFFF))
        if at + size + 48 > out.size:
            return np.int64(-1)
        at = _put_varint(out, at, size)
        if size <= 12:
            store_u64(out, at, (word >> np.uint64(32)) | (rest << np.uint64(32)))
            store_u64(out, at + 8, rest >> np.uint64(32))
        elif rest & np.uint64(0xFFFFFFFF) == np.uint64(0):
            copy_bytes(out, at, data, np.int64(rest >> np.uint64(32)), size)
        else:
            copy_bytes(out, at, extra, np.int64(rest >> np.uint64(32)), size)
        at += size
    return at


@compiled
def put_strings(offsets, data, out, at):
    """String column from Int32 offsets and bytes (padded); the position after it, or -1 when `out` is too small."""
    for row in range(offsets.size - 1):
        start = np.int64(offsets[row])
        size = np.int64(offsets[row + 1]) - start
        if at + size + 48 > out.size:
            return np.int64(-1)
        at = _put_varint(out, at, size)
        copy_bytes(out, at, data, start, size)
        at += size
    return at


@compiled
def put_hex(ids, width, rows, out, at):
    """String column of lower-case hex ids, '' where all bytes are zero; -1 when `out` is too small."""
    if at + rows * (2 * width + 1) + 48 > out.size:
        return np.int64(-1)
    for row in range(rows):
        start = row * width
        present = load_u64(ids, start) != np.uint64(0)
        if width == 16 and not present:
            present = load_u64(ids, start + 8) != np.uint64(0)
        if not present:
            out[at] = 0
            at += 1
            continue
        out[at] = 2 * width
        at += 1
        for i in range(width):
            store_u16(out, at + 2 * i, _HEX_PAIRS[ids[start + i]])
        at += 2 * width
    return at


@compiled
def number_codes(codes, numbering, order):
    """Number the codes in order of appearance from 1, keeping numbers given before; how many there are.

    `numbering` holds -1 for codes not seen and 0 for the code of ''. `order` receives the code of each number.
    """
    count = np.int64(order[0])
    for row in range(codes.size):
        code = codes[row]
        if numbering[code] < 0:
            count += 1
            numbering[code] = count
            order[count] = code
    order[0] = count
    return count


@compiled
def put_indexes(codes, numbering, into):
    """The dictionary index of each row."""
    for row in range(codes.size):
        into[row] = numbering[codes[row]]


@compiled
def expand_offsets(groups, offsets, into):
    """Cumulative entry counts of rows that repeat their group's map; the number of entries in all."""
    total = np.int64(0)
    for row in range(groups.size):
        group = groups[row]
        total += np.int64(offsets[group + 1]) - np.int64(offsets[group])
        into[row] = total
    return total


@compiled
def expand_indexes(groups, offsets, codes, numbering, into):
    """The dictionary indexes of rows that repeat their group's entries."""
    at = np.int64(0)
    for row in range(groups.size):
        group = groups[row]
        for entry in range(offsets[group], offsets[group + 1]):
            into[at] = numbering[codes[entry]]
            at += 1


def _read(buffer: pa.Buffer | None, dtype: Any) -> Array:
    # Always read-only, whatever Arrow thinks of the memory: the compiler makes a variant of a function for each.
    array = np.frombuffer(buffer, dtype) if buffer is not None and buffer.size else np.zeros(0, dtype)
    array.flags.writeable = False
    return array


def _numpy(array: pa.Array, dtype: Any) -> Array:
    return _read(array.buffers()[1], dtype)[array.offset : array.offset + len(array)]


def _offsets(array: pa.Array) -> Array:
    return _read(array.buffers()[1], np.int32)[array.offset : array.offset + len(array) + 1]


class _Block:
    """The bytes of a block as they grow, in an arena."""

    def __init__(self, arena: Arena, size_bytes: int) -> None:
        self._arena = arena
        self.out = arena.empty(size_bytes, np.uint8)
        self.at = 0

    def room(self, size: int) -> None:
        """Make room for `size` more bytes and padding."""
        if self.at + size + PADDING > self.out.size:
            larger = self._arena.empty(2 * self.out.size + size + PADDING, np.uint8)
            larger[: self.at] = self.out[: self.at]
            self.out = larger

    def raw(self, data: bytes | Array) -> None:
        view = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.view(np.uint8)
        self.room(view.size)
        self.out[self.at : self.at + view.size] = view
        self.at += view.size

    def u64(self, value: int) -> None:
        self.raw(int(value).to_bytes(8, "little"))

    def varint(self, value: int) -> None:
        self.room(_VARINT_BYTES)
        self.at = int(_put_varint(self.out, self.at, value))

    def text(self, value: str) -> None:
        data = value.encode()
        self.varint(len(data))
        self.raw(data)

    def kernel(self, put: Callable[[Array, int], int]) -> None:
        """Run a kernel that answers -1 when the room ends; it is run again with more."""
        while (end := put(self.out, self.at)) < 0:
            self.room(self.out.size)
        self.at = int(end)

    def reserve(self, count: int, dtype: Any) -> Array:
        """`count` elements at the end of the block, to be filled by the caller."""
        size = count * np.dtype(dtype).itemsize
        self.room(size)
        view: Array = self.out[self.at : self.at + size].view(dtype)
        self.at += size
        return view


class _Dictionary:
    """The dictionary of one LowCardinality column: codes numbered as they are used."""

    def __init__(self, arena: Arena, values: pa.Array) -> None:
        self._offsets = _offsets(values)
        self._data = _read(values.buffers()[2], np.uint8)
        count = len(values)
        self._numbering = arena.empty(count + 1, np.int32)
        self._numbering.fill(-1)
        self._numbering[:count][np.diff(self._offsets) == 0] = 0
        self._order = arena.empty(count + 2, np.int64)
        self._order[0] = 0

    def use(self, codes: Array) -> None:
        number_codes(codes, self._numbering, self._order)

    def put(self, block: _Block, values: int, fill: Callable[[Array, Array], None]) -> None:
        """Dictionary and `values` indexes, which `fill(numbering, into)` writes."""
        if not values:
            return
        count = int(self._order[0]) + 1
        _, code, dtype = next(width for width in _WIDTHS if count <= width[0])
        block.u64(_DICTIONARY_FLAGS | code)
        block.u64(count)
        data, offsets = self._data.tobytes(), self._offsets.tolist()
        texts = [data[offsets[at] : offsets[at + 1]] for at in self._order[1:count].tolist()]
        lengths = np.cumsum([0, 0] + [len(text) for text in texts], dtype=np.int32)
        lengths.flags.writeable = False
        joined = np.frombuffer(b"".join(texts) + bytes(PADDING), np.uint8)
        block.kernel(lambda out, at: put_strings(lengths, joined, out, at))
        block.u64(values)
        fill(self._numbering, block.reserve(values, dtype))


def encode(batch: pa.RecordBatch, columns: Sequence[Column], arena: Arena) -> memoryview:
    """One Native block with all rows of `batch`, whose columns are those of `columns`, in order.

    The bytes live in the arena: they are valid until its next reset.

    Raises:
        TypeError: a column has an Arrow type that no ClickHouse type is written from.
    """
    block = _Block(arena, 448 * batch.num_rows + 65536)
    block.varint(len(columns))
    block.varint(batch.num_rows)
    for column, array in zip(columns, batch.columns, strict=True):
        block.text(column.name)
        block.text(column.type)
        _put_prefix(block, array.type)
        _put(block, arena, array)
    return block.out[: block.at].data


def _put_prefix(block: _Block, kind: pa.DataType) -> None:
    if pa.types.is_list(kind):
        _put_prefix(block, kind.value_type)
    elif pa.types.is_map(kind):
        _put_prefix(block, kind.key_type)
        _put_prefix(block, kind.item_type)
    elif pa.types.is_dictionary(kind):
        if pa.types.is_map(kind.value_type):
            _put_prefix(block, kind.value_type)
        else:
            block.u64(1)


def _put(block: _Block, arena: Arena, array: pa.Array) -> None:
    kind = array.type
    if pa.types.is_dictionary(kind):
        if pa.types.is_map(kind.value_type):
            _put_shared_map(block, arena, array)
        else:
            codes = _codes(array)
            dictionary = _Dictionary(arena, array.dictionary)
            dictionary.use(codes)
            dictionary.put(block, len(codes), lambda numbering, into: put_indexes(codes, numbering, into))
    elif pa.types.is_list(kind):
        first, count = _put_ends(block, array)
        _put(block, arena, array.values.slice(first, count))
    elif pa.types.is_map(kind):
        first, count = _put_ends(block, array)
        _put(block, arena, array.keys.slice(first, count))
        _put(block, arena, array.items.slice(first, count))
    elif pa.types.is_fixed_size_binary(kind):
        ids = _read(array.buffers()[1], np.uint8)[array.offset * kind.byte_width :]
        block.kernel(lambda out, at: put_hex(ids, kind.byte_width, len(array), out, at))
    elif pa.types.is_string_view(kind):
        _, views, *data = array.buffers()
        words = _read(views, np.uint64)[2 * array.offset : 2 * (array.offset + len(array))]
        # The batch's own bytes, and texts that a guard put in the place of some.
        source, extra = (_read(data[n] if n < len(data) else None, np.uint8) for n in range(2))
        block.kernel(lambda out, at: put_views(words, source, extra, out, at))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind):
        block.raw(_numpy(array, kind.to_pandas_dtype()))
    else:
        raise TypeError(f"no ClickHouse type is written from the Arrow type {kind}")


def _put_ends(block: _Block, array: pa.Array) -> tuple[int, int]:
    # Where each row's elements end; the first element of a slice and how many it has.
    offsets = _offsets(array)
    first = int(offsets[0])
    ends = offsets[1:].astype(np.uint64)
    if first:
        ends -= np.uint64(first)
    block.raw(ends)
    return first, int(offsets[-1]) - first


def _codes(array: pa.DictionaryArray) -> Array:
    # One width for all, so that the kernels have one variant; the few narrow columns are cheap to widen.
    codes = _numpy(array.indices, array.type.index_type.to_pandas_dtype()).astype(np.uint32, copy=False)
    codes.flags.writeable = False
    return codes


def _put_shared_map(block: _Block, arena: Arena, array: pa.DictionaryArray) -> None:
    groups, maps = _codes(array), array.dictionary
    offsets = _offsets(maps)
    ends = block.reserve(len(groups), np.uint64)
    entries = int(expand_offsets(groups, offsets, ends))
    for part in (maps.keys, maps.items):
        codes = _codes(part)
        dictionary = _Dictionary(arena, part.dictionary)
        dictionary.use(codes)
        dictionary.put(
            block,
            entries,
            lambda numbering, into, codes=codes: expand_indexes(  # type: ignore[misc]
                groups, offsets, codes, numbering, into
            ),
        )
