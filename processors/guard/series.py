"""Which series a data point belongs to, as a number; and sets of such numbers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from processors.decode.strings import Array
from processors.guard.kernels import add_series, find_series, hash_texts, number_series
from processors.guard.values import text_bytes
from schemas.wire import PADDING

_SECRET = np.uint64(int.from_bytes(os.urandom(8), "little"))
_FIRST_SLOTS = 1024


@dataclass(frozen=True, slots=True, order=True)
class Group:
    """What a budget of series is for: one metric of one service of one tenant."""

    tenant: str
    service: str
    metric: str

    @property
    def number(self) -> int:
        """The same in every process."""
        text = f"{self.tenant}\0{self.service}\0{self.metric}".encode("utf-8", "surrogateescape")
        return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")


@dataclass(frozen=True, slots=True)
class Points:
    """The data points of one table.

    Attributes:
        groups: those that occur.
        group_of_row: an index into `groups` for each row.
        series: the number of each row's series, UInt64. A series is a group and a set of attributes: the same metric of
            two instances of a service is one, for it is attributes that explode.
    """

    groups: list[Group]
    group_of_row: Array
    series: Array


def points_of(rows: pa.RecordBatch) -> Points:
    """The series of the rows of a metric table."""
    columns = [rows.column(name) for name in ("TenantId", "ServiceName", "MetricName")]
    combined = np.zeros(rows.num_rows, np.int64)
    for column in columns:
        combined = combined * len(column.dictionary) + column.indices.to_numpy()
    # Points of a metric lie together, so that only where it changes is looked at.
    starts = np.flatnonzero(np.concatenate([[True], combined[1:] != combined[:-1]]))
    distinct, which = np.unique(combined[starts], return_inverse=True)
    group_of_row = np.repeat(which, np.diff(np.append(starts, rows.num_rows)))
    groups = [Group(*texts) for texts in zip(*_texts(columns, distinct), strict=True)]
    maps = rows.column("Attributes")
    _, views, *data = maps.items.buffers()
    words, source, extra = (
        _read(buffer, kind)
        for buffer, kind in (
            (views, np.uint64),
            (data[0] if data else None, np.uint8),
            (data[1] if len(data) > 1 else None, np.uint8),
        )
    )
    names, texts = text_bytes(maps.keys.dictionary)
    of_key = np.empty(len(names) - 1, np.uint64)
    hash_texts(names, texts, of_key)
    series = np.empty(rows.num_rows, np.uint64)
    number_series(
        np.array([group.number for group in groups], np.uint64),
        group_of_row,
        _read(maps.offsets.buffers()[1], np.int32)[: rows.num_rows + 1],
        _read(maps.keys.indices.buffers()[1], np.uint32),
        of_key,
        words,
        source,
        extra,
        series,
    )
    return Points(groups, group_of_row, series)


def _texts(columns: list[pa.DictionaryArray], combined: Array) -> list[list[str]]:
    found: list[list[str]] = []
    rest = combined
    for column in reversed(columns):
        rest, codes = np.divmod(rest, max(len(column.dictionary), 1))
        # Bytes that are no UTF-8 come through as they are.
        values = column.dictionary.take(pa.array(codes)).cast(pa.binary())
        found.append([value.decode("utf-8", "surrogateescape") for value in values.to_pylist()])
    return found[::-1]


def _read(buffer: pa.Buffer | None, kind: type) -> Array:
    array: Array = np.frombuffer(buffer if buffer is not None and buffer.size else bytes(PADDING), kind)
    array.flags.writeable = False
    return array


class SeriesSet:
    """Numbers of series, each with the index of its group: 12 bytes for each of at least twice as many slots."""

    def __init__(self) -> None:
        self._slots = np.zeros(_FIRST_SLOTS, np.uint64)
        self._groups = np.zeros(_FIRST_SLOTS, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def has(self, series: Array) -> Array:
        """Which of them it has, booleans."""
        found = np.empty(len(series), np.bool_)
        find_series(series, self._slots, _SECRET, found)
        return found

    def add(self, series: Array, groups: Array) -> None:
        """Add distinct numbers that it does not have yet."""
        wanted = self._count + len(series)
        if 2 * wanted > len(self._slots):
            slots, of_slot = self._slots, self._groups
            size = 1 << (2 * wanted - 1).bit_length()
            self._slots, self._groups = np.zeros(2 * size, np.uint64), np.zeros(2 * size, np.int32)
            held = slots != 0
            add_series(slots[held], of_slot[held], self._slots, self._groups, _SECRET)
        add_series(series, groups.astype(np.int32), self._slots, self._groups, _SECRET)
        self._count = wanted

    def of_groups(self, groups: Array) -> dict[int, Array]:
        """The numbers of each of these groups, in order."""
        held = (self._slots != 0) & np.isin(self._groups, groups)
        series, of = self._slots[held], self._groups[held]
        order = np.lexsort((series, of))
        series, of = series[order], of[order]
        starts, ends = (np.searchsorted(of, groups, side=side) for side in ("left", "right"))
        return {int(group): series[start:end] for group, start, end in zip(groups, starts, ends, strict=True)}
