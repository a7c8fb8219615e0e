"""Log records: wire bytes to columns. Source: opentelemetry-proto logs/v1/logs.proto."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from processors.arena import Arena
from processors.decode.attributes import Attributes, append_entry, attributes
from processors.decode.space import ENTRIES, ITEMS, OVERFLOW, mark_fault
from processors.decode.spans import offsets, span_id, trace_id
from processors.decode.strings import Array, intern, put_view, used
from processors.decode.text import value_text
from schemas.wire import compiled, fixed32, fixed64, inlined, length, skip_field, store_u64, varint


class LogRecords(NamedTuple):
    """A row per log record. Ids are 16 or 8 bytes a row, all zero where absent; views are two UInt64 a row."""

    scope: Array
    record: Array
    time: Array
    observed: Array
    severity: Array
    severity_text: Array
    body: Array
    event_name: Array
    trace_id: Array
    span_id: Array
    flags: Array
    dropped: Array
    first_attribute: Array
    attributes: Attributes
    used: Array


def log_records(arena: Arena, capacity: int, entries: int) -> LogRecords:
    """Room for `capacity` log records with `entries` attributes in all."""
    u64, u32 = (partial(arena.empty, dtype=kind) for kind in (np.uint64, np.uint32))
    return LogRecords(
        scope=arena.empty(capacity, np.int64),
        record=arena.empty(capacity, np.int64),
        time=u64(capacity),
        observed=u64(capacity),
        severity=arena.empty(capacity, np.uint8),
        severity_text=u32(capacity),
        body=u64(2 * capacity),
        event_name=u32(capacity),
        trace_id=arena.empty(16 * capacity + 16, np.uint8),
        span_id=arena.empty(8 * capacity + 16, np.uint8),
        flags=u32(capacity),
        dropped=u32(capacity),
        first_attribute=offsets(arena, capacity),
        attributes=attributes(arena, entries, ENTRIES),
        used=used(ITEMS),
    )


@inlined
def _log_record(buffer, p, end, row, into, keys, values, state, work):
    # The position where it stopped: `end` when the log record is whole, the start of the broken field otherwise.
    store_u64(into.trace_id, 16 * row, np.uint64(0))
    store_u64(into.trace_id, 16 * row + 8, np.uint64(0))
    store_u64(into.span_id, 8 * row, np.uint64(0))
    into.body[2 * row], into.body[2 * row + 1] = np.uint64(0), np.uint64(0)
    into.time[row], into.observed[row] = np.uint64(0), np.uint64(0)
    into.severity[row], into.severity_text[row], into.event_name[row] = 0, 0, 0
    into.flags[row], into.dropped[row] = 0, 0
    previous = np.int64(-1)
    while p < end:
        at = p
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x32):
            start, p = length(buffer, p, end)
            if p > end:
                return at
            previous = append_entry(buffer, start, p, into.attributes, keys, previous, state, work)
            if previous < 0:
                return at
        elif tag == np.uint64(0x09):
            into.time[row], p = fixed64(buffer, p, end)
        elif tag == np.uint64(0x59):
            into.observed[row], p = fixed64(buffer, p, end)
        elif tag == np.uint64(0x10):
            value, p = varint(buffer, p, end)
            into.severity[row] = np.uint8(value & np.uint64(0xFF))
        elif tag == np.uint64(0x1A) or tag == np.uint64(0x62):
            start, p = length(buffer, p, end)
            code = intern(buffer, start, p - start, values, state) if p <= end else np.int64(-1)
            if code < 0:
                return at
            if tag == np.uint64(0x1A):
                into.severity_text[row] = code
            else:
                into.event_name[row] = code
        elif tag == np.uint64(0x2A):
            start, p = length(buffer, p, end)
            if p > end:
                return at
            text, size = value_text(buffer, start, p, state, work)
            if size < 0:
                return at
            put_view(into.body, row, buffer, text, size)
        elif tag == np.uint64(0x4A):
            p = trace_id(buffer, p, end, into.trace_id, row)
        elif tag == np.uint64(0x52):
            p = span_id(buffer, p, end, into.span_id, row)
        elif tag == np.uint64(0x45):
            value, p = fixed32(buffer, p, end)
            into.flags[row] = np.uint32(value)
        elif tag == np.uint64(0x38):
            value, p = varint(buffer, p, end)
            into.dropped[row] = np.uint32(value & np.uint64(0xFFFFFFFF))
        else:
            p = skip_field(buffer, p, end, tag)
        if p > end:
            return at
    return end


@compiled
def scan(buffer, found, runs, faults, into, keys, values, state, work):
    """Decode all log records of the frame; the first fault of a record of the log is written to `faults`."""
    row = np.int64(0)
    for run in range(runs.first.size):
        record = runs.record[run]
        for item in range(runs.first[run], runs.stop[run]):
            if row + 1 >= into.scope.size:
                state[OVERFLOW] = ITEMS
                return
            reached = _log_record(buffer, found.start[item], found.stop[item], row, into, keys, values, state, work)
            if state[OVERFLOW] != 0:
                return
            if reached != found.stop[item]:
                mark_fault(faults, record, reached)
                break
            into.scope[row], into.record[row] = found.scope[item], record
            row += 1
            into.first_attribute[row] = into.attributes.used[0]
    into.used[0] = row
