"""Data points: wire bytes to columns, one pass for each kind.

Source: opentelemetry-proto metrics/v1/metrics.proto. The kinds number their fields alike only in part, so a point's
tags are looked up in a table per kind: FIELDS[kind][tag] names the meaning.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from processors.arena import Arena
from processors.decode.attributes import Attributes, append_entry, attributes
from processors.decode.metric_headers import EXPONENTIAL, GAUGE, HISTOGRAM, KINDS, SUM, SUMMARY
from processors.decode.space import BUCKETS, EXEMPLAR_ENTRIES, EXEMPLARS, OVERFLOW, POINT_ENTRIES, POINTS
from processors.decode.spans import offsets, span_id, trace_id
from processors.decode.strings import Array, used
from schemas.wire import BROKEN, compiled, double_of, fixed64, inlined, length, skip_field, store_u64, varint

# What a field of a point means.
_START, _TIME, _DOUBLE, _INT, _ATTRIBUTE, _FLAGS, _EXEMPLAR, _COUNT, _SUM, _BUCKETS = range(1, 11)
_BOUNDS, _MIN, _MAX, _SCALE, _ZEROES, _POSITIVE, _NEGATIVE, _THRESHOLD, _QUANTILE = range(11, 20)
_NUMBER_FIELDS = {0x11: _START, 0x19: _TIME, 0x21: _DOUBLE, 0x31: _INT, 0x3A: _ATTRIBUTE, 0x40: _FLAGS, 0x2A: _EXEMPLAR}
_FIELDS_OF_KIND = {
    GAUGE: _NUMBER_FIELDS,
    SUM: _NUMBER_FIELDS,
    # Bucket counts and bounds arrive packed (0x32, 0x3A) or one by one (0x31, 0x39).
    HISTOGRAM: {
        0x11: _START,
        0x19: _TIME,
        0x21: _COUNT,
        0x29: _SUM,
        0x32: _BUCKETS,
        0x31: _BUCKETS,
        0x3A: _BOUNDS,
        0x39: _BOUNDS,
        0x42: _EXEMPLAR,
        0x4A: _ATTRIBUTE,
        0x50: _FLAGS,
        0x59: _MIN,
        0x61: _MAX,
    },
    EXPONENTIAL: {
        0x0A: _ATTRIBUTE,
        0x11: _START,
        0x19: _TIME,
        0x21: _COUNT,
        0x29: _SUM,
        0x30: _SCALE,
        0x39: _ZEROES,
        0x42: _POSITIVE,
        0x4A: _NEGATIVE,
        0x50: _FLAGS,
        0x5A: _EXEMPLAR,
        0x61: _MIN,
        0x69: _MAX,
        0x71: _THRESHOLD,
    },
    SUMMARY: {0x11: _START, 0x19: _TIME, 0x21: _COUNT, 0x29: _SUM, 0x32: _QUANTILE, 0x3A: _ATTRIBUTE, 0x40: _FLAGS},
}
_FIELDS = np.zeros((KINDS, 128), np.uint8)
for _kind, _fields in _FIELDS_OF_KIND.items():
    for _tag, _meaning in _fields.items():
        _FIELDS[_kind, _tag] = _meaning


class Exemplars(NamedTuple):
    """A row per exemplar."""

    time: Array
    value: Array
    trace_id: Array
    span_id: Array
    first_attribute: Array
    attributes: Attributes
    used: Array


class Values(NamedTuple):
    """Numbers of several points, one after another: bucket counts, bounds, quantiles."""

    values: Array
    used: Array


class Points(NamedTuple):
    """A row per data point of one kind; columns that the kind does not have stay unread."""

    metric: Array
    record: Array
    start: Array
    time: Array
    flags: Array
    value: Array
    integer: Array
    is_integer: Array
    total: Array
    sum: Array
    minimum: Array
    maximum: Array
    present: Array
    scale: Array
    zeroes: Array
    threshold: Array
    side_offset: Array
    first_attribute: Array
    first_exemplar: Array
    first: Array
    buckets: Values
    others: Values
    attributes: Attributes
    used: Array


HAS_SUM, HAS_MIN, HAS_MAX = 1, 2, 4


def exemplars(arena: Arena, capacity: int, entries: int) -> Exemplars:
    """Room for `capacity` exemplars with `entries` filtered attributes in all."""
    return Exemplars(
        time=arena.empty(capacity, np.uint64),
        value=arena.empty(capacity, np.float64),
        trace_id=arena.empty(16 * capacity + 16, np.uint8),
        span_id=arena.empty(8 * capacity + 16, np.uint8),
        first_attribute=offsets(arena, capacity),
        attributes=attributes(arena, entries, EXEMPLAR_ENTRIES),
        used=used(EXEMPLARS),
    )


def points(arena: Arena, capacity: int, entries: int, buckets: int) -> Points:
    """Room for `capacity` points with `entries` attributes, `buckets` bucket counts and `buckets` bounds in all."""
    f64, i64, u64 = (partial(arena.empty, dtype=kind) for kind in (np.float64, np.int64, np.uint64))
    first = i64(2 * (capacity + 1)).reshape(2, capacity + 1)
    first[:, 0] = 0
    return Points(
        metric=i64(capacity),
        record=i64(capacity),
        start=u64(capacity),
        time=u64(capacity),
        flags=arena.empty(capacity, np.uint32),
        value=f64(capacity),
        integer=i64(capacity),
        is_integer=arena.empty(capacity, np.uint8),
        total=u64(capacity),
        sum=f64(capacity),
        minimum=f64(capacity),
        maximum=f64(capacity),
        present=arena.empty(capacity, np.uint8),
        scale=arena.empty(capacity, np.int32),
        zeroes=u64(capacity),
        threshold=f64(capacity),
        side_offset=arena.empty(2 * capacity, np.int32).reshape(2, capacity),
        first_attribute=offsets(arena, capacity),
        first_exemplar=offsets(arena, capacity),
        first=first,
        buckets=Values(u64(buckets), used(BUCKETS)),
        others=Values(u64(buckets), used(BUCKETS)),
        attributes=attributes(arena, entries, POINT_ENTRIES),
        used=used(POINTS),
    )


@inlined
def _append(into, value, state):
    at = into.used[0]
    if at >= into.values.size:
        state[OVERFLOW] = BUCKETS
        return False
    into.values[at] = value
    into.used[0] = at + 1
    return True


@inlined
def _fixed_values(buffer, start, stop, into, state):
    if (stop - start) % 8 != 0:
        return False
    while start < stop:
        value, start = fixed64(buffer, start, stop)
        if not _append(into, value, state):
            return False
    return True


@compiled
def _side(buffer, p, end, side, row, into, counts, state):
    # Buckets: 1 offset (sint32), 2 bucket_counts (packed or single varints).
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x08):
            value, p = varint(buffer, p, end)
            into.side_offset[side, row] = np.int32(_zigzag(value))
        elif tag == np.uint64(0x10):
            value, p = varint(buffer, p, end)
            if p <= end and not _append(counts, value, state):
                return False
        elif tag == np.uint64(0x12):
            start, p = length(buffer, p, end)
            while start < p <= end:
                value, start = varint(buffer, start, p)
                if start > p or not _append(counts, value, state):
                    return False
        else:
            p = skip_field(buffer, p, end, tag)
    return p == end


@compiled
def _zigzag(value):
    low = value & np.uint64(0xFFFFFFFF)
    return np.int64(low >> np.uint64(1)) ^ -np.int64(low & np.uint64(1))


@compiled
def _quantile(buffer, p, end, into, state):
    quantile, value = np.uint64(0), np.uint64(0)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x09):
            quantile, p = fixed64(buffer, p, end)
        elif tag == np.uint64(0x11):
            value, p = fixed64(buffer, p, end)
        else:
            p = skip_field(buffer, p, end, tag)
    return p == end and _append(into.buckets, quantile, state) and _append(into.others, value, state)


@compiled
def _exemplar(buffer, p, end, into, keys, state, work):
    row = into.used[0]
    if row + 1 >= into.time.size:
        state[OVERFLOW] = EXEMPLARS
        return False
    into.time[row], into.value[row] = np.uint64(0), 0.0
    store_u64(into.trace_id, 16 * row, np.uint64(0))
    store_u64(into.trace_id, 16 * row + 8, np.uint64(0))
    store_u64(into.span_id, 8 * row, np.uint64(0))
    into.first_attribute[row] = into.attributes.used[0]
    previous = np.int64(-1)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x11):
            into.time[row], p = fixed64(buffer, p, end)
        elif tag == np.uint64(0x19):
            value, p = fixed64(buffer, p, end)
            into.value[row] = double_of(np.int64(value))
        elif tag == np.uint64(0x31):
            value, p = fixed64(buffer, p, end)
            into.value[row] = np.float64(np.int64(value))
        elif tag == np.uint64(0x22):
            p = span_id(buffer, p, end, into.span_id, row)
        elif tag == np.uint64(0x2A):
            p = trace_id(buffer, p, end, into.trace_id, row)
        elif tag == np.uint64(0x3A):
            start, p = length(buffer, p, end)
            if p > end:
                return False
            previous = append_entry(buffer, start, p, into.attributes, keys, previous, state, work)
            if previous < 0:
                return False
        else:
            p = skip_field(buffer, p, end, tag)
    into.used[0] = row + 1
    into.first_attribute[row + 1] = into.attributes.used[0]
    return p == end


@inlined
def _clear(into, row):
    into.start[row], into.time[row], into.flags[row] = np.uint64(0), np.uint64(0), 0
    into.value[row], into.integer[row], into.is_integer[row] = 0.0, 0, 0
    into.total[row], into.sum[row], into.minimum[row], into.maximum[row] = np.uint64(0), 0.0, 0.0, 0.0
    into.present[row], into.scale[row], into.zeroes[row], into.threshold[row] = 0, 0, np.uint64(0), 0.0
    into.side_offset[0, row], into.side_offset[1, row] = 0, 0


@inlined
def _point(buffer, p, end, kind, row, into, exemplar_rows, keys, state, work):
    # The position where it stopped: `end` when the point is whole, the start of the broken field otherwise.
    _clear(into, row)
    previous = np.int64(-1)
    while p < end:
        at = p
        tag, p = varint(buffer, p, end)
        meaning = _FIELDS[kind, np.int64(tag)] if tag < np.uint64(128) else np.uint8(0)
        wire_type = tag & np.uint64(7)
        if meaning == 0:
            p = skip_field(buffer, p, end, tag)
        elif wire_type == np.uint64(1):
            value, p = fixed64(buffer, p, end)
            if meaning == _START:
                into.start[row] = value
            elif meaning == _TIME:
                into.time[row] = value
            elif meaning == _DOUBLE:
                into.value[row], into.integer[row], into.is_integer[row] = double_of(np.int64(value)), 0, 0
            elif meaning == _INT:
                into.integer[row], into.is_integer[row] = np.int64(value), 1
                into.value[row] = np.float64(np.int64(value))
            elif meaning == _COUNT:
                into.total[row] = value
            elif meaning == _ZEROES:
                into.zeroes[row] = value
            elif meaning == _SUM:
                into.sum[row] = double_of(np.int64(value))
                into.present[row] |= HAS_SUM
            elif meaning == _MIN:
                into.minimum[row] = double_of(np.int64(value))
                into.present[row] |= HAS_MIN
            elif meaning == _MAX:
                into.maximum[row] = double_of(np.int64(value))
                into.present[row] |= HAS_MAX
            elif meaning == _THRESHOLD:
                into.threshold[row] = double_of(np.int64(value))
            elif p <= end and not _append(into.buckets if meaning == _BUCKETS else into.others, value, state):
                return at
        elif wire_type == np.uint64(0):
            value, p = varint(buffer, p, end)
            if meaning == _FLAGS:
                into.flags[row] = np.uint32(value & np.uint64(0xFFFFFFFF))
            else:
                into.scale[row] = np.int32(_zigzag(value))
        else:
            start, p = length(buffer, p, end)
            if p > end:
                return at
            ok = True
            if meaning == _ATTRIBUTE:
                previous = append_entry(buffer, start, p, into.attributes, keys, previous, state, work)
                ok = previous >= 0
            elif meaning == _EXEMPLAR:
                ok = _exemplar(buffer, start, p, exemplar_rows, keys, state, work)
            elif meaning == _BUCKETS:
                ok = _fixed_values(buffer, start, p, into.buckets, state)
            elif meaning == _BOUNDS:
                ok = _fixed_values(buffer, start, p, into.others, state)
            elif meaning == _POSITIVE:
                ok = _side(buffer, start, p, 0, row, into, into.buckets, state)
            elif meaning == _NEGATIVE:
                ok = _side(buffer, start, p, 1, row, into, into.others, state)
            else:
                ok = _quantile(buffer, start, p, into, state)
            if not ok:
                return at
        if p > end:
            return at
    return end


@compiled
def scan_points(buffer, faults, headers, kind, into, exemplar_rows, keys, state, work):
    """Decode the points of all metrics of one kind; the first fault of a record is written to `faults`."""
    row = np.int64(0)
    for record in range(faults.size):
        if faults[record] >= 0:
            continue
        for metric in range(headers.first[record], headers.first[record + 1]):
            if headers.kind[metric] != kind:
                continue
            p, end = headers.start[metric], headers.stop[metric]
            while p < end:
                at = p
                tag, p = varint(buffer, p, end)
                if tag != np.uint64(0x0A):
                    p = skip_field(buffer, p, end, tag)
                else:
                    start, p = length(buffer, p, end)
                    if p <= end:
                        if row + 1 >= into.metric.size:
                            state[OVERFLOW] = POINTS
                            return
                        reached = _point(buffer, start, p, kind, row, into, exemplar_rows, keys, state, work)
                        if state[OVERFLOW] != 0:
                            return
                        if reached != p:
                            at, p = reached, BROKEN
                if p > end:
                    faults[record] = at
                    break
                if tag == np.uint64(0x0A):
                    into.metric[row], into.record[row] = metric, record
                    row += 1
                    into.first_attribute[row] = into.attributes.used[0]
                    into.first_exemplar[row] = exemplar_rows.used[0]
                    into.first[0, row], into.first[1, row] = into.buckets.used[0], into.others.used[0]
            if faults[record] >= 0:
                break
    into.used[0] = row
