"""Spans with their events and links: wire bytes to columns. Source: opentelemetry-proto trace/v1/trace.proto."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from processors.arena import Arena
from processors.decode.attributes import Attributes, append_entry, attributes
from processors.decode.space import (
    ENTRIES,
    EVENT_ENTRIES,
    EVENTS,
    ITEMS,
    LINK_ENTRIES,
    LINKS,
    OVERFLOW,
    mark_fault,
)
from processors.decode.strings import Array, intern, put_view, used
from schemas.wire import (
    BROKEN,
    compiled,
    copy_16,
    fixed32,
    fixed64,
    inlined,
    length,
    load_u64,
    skip_field,
    store_u64,
    varint,
)


class Spans(NamedTuple):
    """A row per span. Ids are 16 or 8 bytes a row, all zero where absent; views are two UInt64 a row."""

    scope: Array
    record: Array
    trace_id: Array
    span_id: Array
    parent_id: Array
    trace_state: Array
    name: Array
    kind: Array
    start: Array
    end: Array
    status: Array
    message: Array
    flags: Array
    dropped: Array
    first_attribute: Array
    first_event: Array
    first_link: Array
    attributes: Attributes
    used: Array


class Events(NamedTuple):
    """A row per event."""

    time: Array
    name: Array
    dropped: Array
    first_attribute: Array
    attributes: Attributes
    used: Array


class Links(NamedTuple):
    """A row per link."""

    trace_id: Array
    span_id: Array
    trace_state: Array
    flags: Array
    dropped: Array
    first_attribute: Array
    attributes: Attributes
    used: Array


def offsets(arena: Arena, rows: int) -> Array:
    """An offsets array for `rows` rows; each row writes its own end."""
    array = arena.empty(rows + 1, np.int64)
    array[0] = 0
    return array


def spans(arena: Arena, capacity: int, entries: int) -> Spans:
    """Room for `capacity` spans with `entries` attributes in all."""
    u64, u32, u8 = (partial(arena.empty, dtype=kind) for kind in (np.uint64, np.uint32, np.uint8))
    return Spans(
        scope=arena.empty(capacity, np.int64),
        record=arena.empty(capacity, np.int64),
        trace_id=u8(16 * capacity + 16),
        span_id=u8(8 * capacity + 16),
        parent_id=u8(8 * capacity + 16),
        trace_state=u64(2 * capacity),
        name=u32(capacity),
        kind=u8(capacity),
        start=u64(capacity),
        end=u64(capacity),
        status=u8(capacity),
        message=u64(2 * capacity),
        flags=u32(capacity),
        dropped=u32(3 * capacity).reshape(3, capacity),
        first_attribute=offsets(arena, capacity),
        first_event=offsets(arena, capacity),
        first_link=offsets(arena, capacity),
        attributes=attributes(arena, entries, ENTRIES),
        used=used(ITEMS),
    )


def events(arena: Arena, capacity: int, entries: int) -> Events:
    """Room for `capacity` events with `entries` attributes in all."""
    return Events(
        time=arena.empty(capacity, np.uint64),
        name=arena.empty(capacity, np.uint32),
        dropped=arena.empty(capacity, np.uint32),
        first_attribute=offsets(arena, capacity),
        attributes=attributes(arena, entries, EVENT_ENTRIES),
        used=used(EVENTS),
    )


def links(arena: Arena, capacity: int, entries: int) -> Links:
    """Room for `capacity` links with `entries` attributes in all."""
    return Links(
        trace_id=arena.empty(16 * capacity + 16, np.uint8),
        span_id=arena.empty(8 * capacity + 16, np.uint8),
        trace_state=arena.empty(2 * capacity, np.uint64),
        flags=arena.empty(capacity, np.uint32),
        dropped=arena.empty(capacity, np.uint32),
        first_attribute=offsets(arena, capacity),
        attributes=attributes(arena, entries, LINK_ENTRIES),
        used=used(LINKS),
    )


@inlined
def trace_id(buffer, p, end, into, row):
    """Copy a 16-byte id to its row; the position after it, BROKEN unless it has 16 or 0 bytes."""
    start, p = length(buffer, p, end)
    if p <= end:
        if p - start == 16:
            copy_16(into, 16 * row, buffer, start)
        elif p != start:
            return BROKEN
    return p


@inlined
def span_id(buffer, p, end, into, row):
    """Copy an 8-byte id to its row; the position after it, BROKEN unless it has 8 or 0 bytes."""
    start, p = length(buffer, p, end)
    if p <= end:
        if p - start == 8:
            store_u64(into, 8 * row, load_u64(buffer, start))
        elif p != start:
            return BROKEN
    return p


@compiled
def _event(buffer, p, end, into, keys, values, state, work):
    row = into.used[0]
    if row + 1 >= into.time.size:
        state[OVERFLOW] = EVENTS
        return False
    into.time[row], into.name[row], into.dropped[row] = np.uint64(0), 0, 0
    into.first_attribute[row] = into.attributes.used[0]
    previous = np.int64(-1)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x09):
            into.time[row], p = fixed64(buffer, p, end)
        elif tag == np.uint64(0x12):
            start, p = length(buffer, p, end)
            code = intern(buffer, start, p - start, values, state) if p <= end else np.int64(-1)
            if code < 0:
                return False
            into.name[row] = code
        elif tag == np.uint64(0x1A):
            start, p = length(buffer, p, end)
            if p > end:
                return False
            previous = append_entry(buffer, start, p, into.attributes, keys, previous, state, work)
            if previous < 0:
                return False
        elif tag == np.uint64(0x20):
            value, p = varint(buffer, p, end)
            into.dropped[row] = np.uint32(value & np.uint64(0xFFFFFFFF))
        else:
            p = skip_field(buffer, p, end, tag)
    into.used[0] = row + 1
    into.first_attribute[row + 1] = into.attributes.used[0]
    return p == end


@compiled
def _link(buffer, p, end, into, keys, state, work):
    row = into.used[0]
    if row + 1 >= into.flags.size:
        state[OVERFLOW] = LINKS
        return False
    into.trace_id[16 * row : 16 * row + 16] = 0
    into.span_id[8 * row : 8 * row + 8] = 0
    into.trace_state[2 * row], into.trace_state[2 * row + 1] = np.uint64(0), np.uint64(0)
    into.flags[row], into.dropped[row] = 0, 0
    into.first_attribute[row] = into.attributes.used[0]
    previous = np.int64(-1)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x0A):
            p = trace_id(buffer, p, end, into.trace_id, row)
        elif tag == np.uint64(0x12):
            p = span_id(buffer, p, end, into.span_id, row)
        elif tag == np.uint64(0x1A):
            start, p = length(buffer, p, end)
            if p <= end:
                put_view(into.trace_state, row, buffer, start, p - start)
        elif tag == np.uint64(0x22):
            start, p = length(buffer, p, end)
            if p > end:
                return False
            previous = append_entry(buffer, start, p, into.attributes, keys, previous, state, work)
            if previous < 0:
                return False
        elif tag == np.uint64(0x28):
            value, p = varint(buffer, p, end)
            into.dropped[row] = np.uint32(value & np.uint64(0xFFFFFFFF))
        elif tag == np.uint64(0x35):
            value, p = fixed32(buffer, p, end)
            into.flags[row] = np.uint32(value)
        else:
            p = skip_field(buffer, p, end, tag)
    into.used[0] = row + 1
    into.first_attribute[row + 1] = into.attributes.used[0]
    return p == end


@compiled
def _status(buffer, p, end, into, row):
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x12):
            start, p = length(buffer, p, end)
            if p <= end:
                put_view(into.message, row, buffer, start, p - start)
        elif tag == np.uint64(0x18):
            value, p = varint(buffer, p, end)
            into.status[row] = np.uint8(value) if value < np.uint64(3) else np.uint8(3)
        else:
            p = skip_field(buffer, p, end, tag)
    return p == end


@inlined
def _span(buffer, p, end, row, into, event_rows, link_rows, keys, values, state, work):
    # The position where it stopped: `end` when the span is whole, the start of the broken field otherwise.
    store_u64(into.trace_id, 16 * row, np.uint64(0))
    store_u64(into.trace_id, 16 * row + 8, np.uint64(0))
    store_u64(into.span_id, 8 * row, np.uint64(0))
    store_u64(into.parent_id, 8 * row, np.uint64(0))
    into.trace_state[2 * row], into.trace_state[2 * row + 1] = np.uint64(0), np.uint64(0)
    into.message[2 * row], into.message[2 * row + 1] = np.uint64(0), np.uint64(0)
    into.start[row], into.end[row] = np.uint64(0), np.uint64(0)
    into.name[row], into.kind[row], into.status[row], into.flags[row] = 0, 0, 0, 0
    into.dropped[0, row], into.dropped[1, row], into.dropped[2, row] = 0, 0, 0
    previous = np.int64(-1)
    at = p
    while p < end:
        at = p
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x4A):
            start, p = length(buffer, p, end)
            if p > end:
                return at
            previous = append_entry(buffer, start, p, into.attributes, keys, previous, state, work)
            if previous < 0:
                return at
        elif tag == np.uint64(0x0A):
            p = trace_id(buffer, p, end, into.trace_id, row)
        elif tag == np.uint64(0x12):
            p = span_id(buffer, p, end, into.span_id, row)
        elif tag == np.uint64(0x22):
            p = span_id(buffer, p, end, into.parent_id, row)
        elif tag == np.uint64(0x2A):
            start, p = length(buffer, p, end)
            code = intern(buffer, start, p - start, values, state) if p <= end else np.int64(-1)
            if code < 0:
                return at
            into.name[row] = code
        elif tag == np.uint64(0x30):
            value, p = varint(buffer, p, end)
            into.kind[row] = np.uint8(value) if value < np.uint64(6) else np.uint8(6)
        elif tag == np.uint64(0x39):
            into.start[row], p = fixed64(buffer, p, end)
        elif tag == np.uint64(0x41):
            into.end[row], p = fixed64(buffer, p, end)
        elif tag == np.uint64(0x7A):
            start, p = length(buffer, p, end)
            if p > end or not _status(buffer, start, p, into, row):
                return at
        elif tag == np.uint64(0x5A):
            start, p = length(buffer, p, end)
            if p > end or not _event(buffer, start, p, event_rows, keys, values, state, work):
                return at
        elif tag == np.uint64(0x6A):
            start, p = length(buffer, p, end)
            if p > end or not _link(buffer, start, p, link_rows, keys, state, work):
                return at
        elif tag == np.uint64(0x1A):
            start, p = length(buffer, p, end)
            if p <= end:
                put_view(into.trace_state, row, buffer, start, p - start)
        elif tag == np.uint64(0x85):
            value, p = fixed32(buffer, p, end)
            into.flags[row] = np.uint32(value)
        elif tag == np.uint64(0x50) or tag == np.uint64(0x60) or tag == np.uint64(0x70):
            value, p = varint(buffer, p, end)
            which = np.int64(tag >> np.uint64(4)) - 5
            into.dropped[which, row] = np.uint32(value & np.uint64(0xFFFFFFFF))
        else:
            p = skip_field(buffer, p, end, tag)
        if p > end:
            return at
    return end


@compiled
def scan(buffer, found, runs, faults, into, event_rows, link_rows, keys, values, state, work):
    """Decode all spans of the frame; the first fault of a record is written to `faults`."""
    row = np.int64(0)
    for run in range(runs.first.size):
        record = runs.record[run]
        for item in range(runs.first[run], runs.stop[run]):
            if row + 1 >= into.scope.size:
                state[OVERFLOW] = ITEMS
                return
            start, stop = found.start[item], found.stop[item]
            reached = _span(buffer, start, stop, row, into, event_rows, link_rows, keys, values, state, work)
            if state[OVERFLOW] != 0:
                return
            if reached != stop:
                mark_fault(faults, record, reached)
                break
            into.scope[row], into.record[row] = found.scope[item], record
            row += 1
            into.first_attribute[row] = into.attributes.used[0]
            into.first_event[row] = event_rows.used[0]
            into.first_link[row] = link_rows.used[0]
    into.used[0] = row
