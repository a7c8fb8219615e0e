"""Metrics without their points: names, units, kinds and where the data of each lies.

Source: opentelemetry-proto metrics/v1/metrics.proto.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from processors.arena import Arena
from processors.decode.space import METRICS, OVERFLOW
from processors.decode.strings import Array, intern, used
from schemas.wire import compiled, length, skip_field, varint

GAUGE, SUM, HISTOGRAM, EXPONENTIAL, SUMMARY = 0, 1, 2, 3, 4
KINDS = 5
# Metric.data: field number -> kind + 1, 0 for all others.
_DATA = np.zeros(16, np.int64)
_DATA[[5, 7, 9, 10, 11]] = np.arange(1, 6)


class Metrics(NamedTuple):
    """A row per metric with data: item, codes of its texts, kind, byte range of its data, temporality, monotonicity.

    `first[r]` is the first row of record r.
    """

    item: Array
    name: Array
    description: Array
    unit: Array
    kind: Array
    start: Array
    stop: Array
    temporality: Array
    monotonic: Array
    first: Array
    used: Array


def metrics(arena: Arena, records: int, capacity: int) -> Metrics:
    """Room for `capacity` metrics of `records` records."""
    i64, u32, u8 = (partial(arena.empty, dtype=kind) for kind in (np.int64, np.uint32, np.uint8))
    return Metrics(
        item=i64(capacity),
        name=u32(capacity),
        description=u32(capacity),
        unit=u32(capacity),
        kind=u8(capacity),
        start=i64(capacity),
        stop=i64(capacity),
        temporality=arena.empty(capacity, np.int32),
        monotonic=u8(capacity),
        first=i64(records + 1),
        used=used(METRICS),
    )


@compiled
def _data(buffer, p, end, kind, metric, into):
    # Temporality (2) and monotonicity (3) of a Sum or histogram; points (1) are the second pass's.
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x10) and SUM <= kind <= EXPONENTIAL:
            value, p = varint(buffer, p, end)
            into.temporality[metric] = np.int32(value & np.uint64(0xFFFFFFFF))
        elif tag == np.uint64(0x18) and kind == SUM:
            value, p = varint(buffer, p, end)
            into.monotonic[metric] = np.uint8(value != np.uint64(0))
        else:
            p = skip_field(buffer, p, end, tag)
    return p == end


@compiled
def _metric(buffer, p, end, item, into, values, state):
    # The position where it stopped: `end` when the metric is whole, the start of the broken field otherwise.
    name, description, unit = np.int64(0), np.int64(0), np.int64(0)
    first = into.used[0]
    while p < end:
        at = p
        tag, p = varint(buffer, p, end)
        field = np.int64(tag >> np.uint64(3)) if tag < np.uint64(128) else np.int64(0)
        if tag == np.uint64(0x0A) or tag == np.uint64(0x12) or tag == np.uint64(0x1A):
            start, p = length(buffer, p, end)
            code = intern(buffer, start, p - start, values, state) if p <= end else np.int64(-1)
            if code < 0:
                return at
            if field == 1:
                name = code
            elif field == 2:
                description = code
            else:
                unit = code
        elif tag & np.uint64(7) == np.uint64(2) and _DATA[field] > 0:
            start, p = length(buffer, p, end)
            if p > end:
                return at
            # Data that comes in two parts, which protobuf merges and no sender writes, is read as two metrics.
            row = into.used[0]
            if row >= into.item.size:
                state[OVERFLOW] = METRICS
                return at
            into.item[row], into.kind[row], into.start[row], into.stop[row] = item, _DATA[field] - 1, start, p
            into.temporality[row], into.monotonic[row] = 0, 0
            if not _data(buffer, start, p, _DATA[field] - 1, row, into):
                return at
            if start < p:
                into.used[0] = row + 1
        else:
            p = skip_field(buffer, p, end, tag)
        if p > end:
            return at
    for row in range(first, into.used[0]):
        into.name[row], into.description[row], into.unit[row] = name, description, unit
    return end


@compiled
def scan_metrics(buffer, found, faults, into, values, state):
    """Read the headers of all metrics of the frame."""
    for record in range(faults.size):
        into.first[record] = into.used[0]
        if faults[record] >= 0:
            continue
        for item in range(found.first[record], found.first[record + 1]):
            reached = _metric(buffer, found.start[item], found.stop[item], item, into, values, state)
            if state[OVERFLOW] != 0:
                return
            if reached != found.stop[item]:
                faults[record] = reached
                break
    into.first[faults.size] = into.used[0]
