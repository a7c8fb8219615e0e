"""Splitting a request by trace id, compiled. Importing this module compiles it or loads it from numba's cache on disk.

`find` walks a request down to its items and says to which partition each belongs; `measure` and `write` make one
request a partition of what it found, headers repeated, fields copied as they were sent. Requests MUST have passed
validation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from ingest.wire_fields import after_field, copy, open_field, varint_size
from ingest.wire_primitives import prefix
from schemas.jit import compiled, inlined
from schemas.wire import load_u64

RESOURCES = np.int64(0x0A)
CHILDREN = np.int64(0x12)
NO_TRACE = np.int64(-1)
# A row is what moves as one: an item, or a container without items, copied whole. Its resource is -1 where it is a
# child of the request itself, its scope -1 where it is one of a resource.
START, STOP, PARTITION, RESOURCE, SCOPE, ITEMS, ROW_COLUMNS = range(7)
# A container's header is all of its fields that hold no items, as stretches of the request. The first is the request.
FIRST_STRETCH, STRETCHES, HEADER_BYTES, CONTAINER_COLUMNS = range(4)
_ROWS = types.int64[:, ::1]
_BODY = types.Array(types.uint8, 1, "C", readonly=True)
_OPTIONS: Any = {"nogil": True, "cache": True, "_nrt": False}
_FNV_OFFSET, _FNV_PRIME, _32_BITS = np.uint64(2166136261), np.uint64(16777619), np.uint64(0xFFFFFFFF)


@inlined
def _hashed(body, p, partitions):
    """The partition of the trace id at `p`: FNV-1a of its 32 hexadecimal digits, as the Collector's exporter has it."""
    value = _FNV_OFFSET
    for n in range(16):
        byte = np.uint64(body[p + n])
        for shift in (np.uint64(4), np.uint64(0)):
            digit = (byte >> shift) & np.uint64(15)
            digit += np.uint64(87) if digit > np.uint64(9) else np.uint64(48)
            value = ((value ^ digit) * _FNV_PRIME) & _32_BITS
    # It takes the sum as a signed number, and the remainder without its sign.
    signed = np.int64(value)
    if signed >= 1 << 31:
        signed = (np.int64(1) << 32) - signed
    return signed % partitions


@inlined
def _trace_id(body, p, end, trace_tag):
    """Where the trace id of an item is, -1 where it has none. The last one counts, as for all readers of protobuf."""
    found = np.int64(-1)
    while p < end:
        tag, p = prefix(body, p, end)
        value, p = after_field(body, p, end, tag)
        if tag == trace_tag:
            found = value if p - value == 16 else np.int64(-1)
    return found


@inlined
def _stretch(stretches, count, first, start, stop):
    """One more header field; it joins the one before it where they touch. Returns how many stretches there are."""
    if count > first and count <= len(stretches) and stretches[count - 1, 1] == start:
        stretches[count - 1, 1] = stop
        return count
    if count < len(stretches):
        stretches[count, 0] = start
        stretches[count, 1] = stop
    return count + 1


@compiled
def _header(body, p, end, children, containers, container, stretches, count):
    """Note the header of a message. Returns (stretches so far, children)."""
    first = count
    size = np.int64(0)
    inside = np.int64(0)
    while p < end:
        start = p
        tag, p = prefix(body, p, end)
        _, p = after_field(body, p, end, tag)
        if tag == children:
            inside += 1
        else:
            size += p - start
            count = _stretch(stretches, count, first, start, p)
    if container < len(containers):
        containers[container, FIRST_STRETCH] = first
        containers[container, STRETCHES] = count - first
        containers[container, HEADER_BYTES] = size
    return count, inside


@inlined
def _row(rows, row, start, stop, partition, resource, scope, items):
    if row < len(rows):
        rows[row, START] = start
        rows[row, STOP] = stop
        rows[row, PARTITION] = partition
        rows[row, RESOURCE] = resource
        rows[row, SCOPE] = scope
        rows[row, ITEMS] = items
    return row + 1


@njit(types.void(_BODY, types.int64, types.int64, _ROWS, _ROWS, _ROWS, types.int64[::1]), **_OPTIONS)
def find(body, trace_tag, partitions, rows, containers, stretches, found):
    """Walk a request. `found` takes how many rows, containers and stretches there are, and the first row's partition
    that a trace decides; -1 for none. Where there are more than fit, what was written is of no use.
    """
    size = len(body)
    row = np.int64(0)
    container = np.int64(1)
    first_partition = NO_TRACE
    partition = NO_TRACE
    low = high = np.uint64(0)
    stretch, _ = _header(body, np.int64(0), size, RESOURCES, containers, np.int64(0), stretches, np.int64(0))
    p = np.int64(0)
    while p < size:
        resource_start = p
        tag, p = prefix(body, p, size)
        q, p = after_field(body, p, size, tag)
        if tag != RESOURCES:
            continue
        resource = container
        scopes_start = q
        stretch, scopes = _header(body, q, p, CHILDREN, containers, resource, stretches, stretch)
        container += 1
        if scopes == 0:
            row = _row(rows, row, resource_start, p, NO_TRACE, np.int64(-1), np.int64(-1), 0)
            continue
        q = scopes_start
        while q < p:
            scope_start = q
            tag, q = prefix(body, q, p)
            r, q = after_field(body, q, p, tag)
            if tag != CHILDREN:
                continue
            items_start = r
            stretch, items = _header(body, r, q, CHILDREN, containers, container, stretches, stretch)
            if items == 0:
                row = _row(rows, row, scope_start, q, NO_TRACE, resource, np.int64(-1), 0)
                container += 1
                continue
            r = items_start
            while r < q:
                item_start = r
                tag, r = prefix(body, r, q)
                value, r = after_field(body, r, q, tag)
                if tag != CHILDREN:
                    continue
                at = _trace_id(body, value, r, trace_tag)
                if at < 0:
                    low = high = np.uint64(0)
                elif partition < 0 or load_u64(body, at) != low or load_u64(body, at + 8) != high:
                    low = load_u64(body, at)
                    high = load_u64(body, at + 8)
                    partition = _hashed(body, at, partitions)
                if low | high == np.uint64(0):
                    # No id, or one of zeros, which OTLP calls invalid.
                    partition = NO_TRACE
                elif first_partition < 0:
                    first_partition = partition
                row = _row(rows, row, item_start, r, partition, resource, container, 1)
            container += 1
    found[0] = row
    found[1] = container
    found[2] = stretch
    found[3] = first_partition


@njit(types.void(_ROWS, types.int64, types.int64, types.int64[::1], types.int64[::1]), **_OPTIONS)
def sort(rows, count, rest, begins, order):
    """`order` takes the rows by partition, in order each; `begins` (partitions + 1) where each partition's begin.

    Rows without a trace join the partition `rest`.
    """
    for row in range(count):
        if rows[row, PARTITION] < 0:
            rows[row, PARTITION] = rest
        begins[rows[row, PARTITION] + 1] += 1
    for partition in range(1, len(begins)):
        begins[partition] += begins[partition - 1]
    for row in range(count):
        partition = rows[row, PARTITION]
        order[begins[partition]] = row
        begins[partition] += 1
    for partition in range(len(begins) - 1, 0, -1):
        begins[partition] = begins[partition - 1]
    begins[0] = 0


@inlined
def _scope_size(rows, order, at, end, containers):
    """(bytes of a scope with its items of this part, the first row behind them)."""
    resource = rows[order[at], RESOURCE]
    scope = rows[order[at], SCOPE]
    size = containers[scope, HEADER_BYTES]
    while at < end and rows[order[at], SCOPE] == scope and rows[order[at], RESOURCE] == resource:
        size += rows[order[at], STOP] - rows[order[at], START]
        at += 1
    return size, at


@inlined
def _resource_size(rows, order, at, end, containers):
    """(bytes of a resource with what it holds in this part, the first row behind it)."""
    resource = rows[order[at], RESOURCE]
    size = containers[resource, HEADER_BYTES]
    while at < end and rows[order[at], RESOURCE] == resource:
        if rows[order[at], SCOPE] < 0:
            size += rows[order[at], STOP] - rows[order[at], START]
            at += 1
        else:
            inner, at = _scope_size(rows, order, at, end, containers)
            size += 1 + varint_size(inner) + inner
    return size, at


@njit(types.void(_ROWS, types.int64[::1], types.int64[::1], _ROWS, _ROWS), **_OPTIONS)
def measure(rows, order, begins, containers, parts):
    """`parts` (partitions, 2) takes bytes and items of each partition's request; zeros where it has no row."""
    for partition in range(len(begins) - 1):
        at = begins[partition]
        end = begins[partition + 1]
        size = containers[0, HEADER_BYTES] if at < end else np.int64(0)
        items = np.int64(0)
        for n in range(at, end):
            items += rows[order[n], ITEMS]
        while at < end:
            if rows[order[at], RESOURCE] < 0:
                size += rows[order[at], STOP] - rows[order[at], START]
                at += 1
            else:
                inner, at = _resource_size(rows, order, at, end, containers)
                size += 1 + varint_size(inner) + inner
        parts[partition, 0] = size
        parts[partition, 1] = items


@inlined
def _write_header(body, out, p, containers, container, stretches):
    first = containers[container, FIRST_STRETCH]
    for n in range(first, first + containers[container, STRETCHES]):
        size = stretches[n, 1] - stretches[n, 0]
        copy(out, p, body, stretches[n, 0], size)
        p += size
    return p


@inlined
def _write_rows(body, out, p, rows, order, at, end):
    """Write rows one after another; what lies together is copied together."""
    while at < end:
        start = rows[order[at], START]
        stop = rows[order[at], STOP]
        at += 1
        while at < end and rows[order[at], START] == stop:
            stop = rows[order[at], STOP]
            at += 1
        copy(out, p, body, start, stop - start)
        p += stop - start
    return p


@njit(types.void(_BODY, _ROWS, types.int64[::1], types.int64[::1], _ROWS, _ROWS, types.uint8[::1]), **_OPTIONS)
def write(body, rows, order, begins, containers, stretches, out):
    """Write the requests of all partitions into `out`, one after another, each as long as `measure` said."""
    p = np.int64(0)
    for partition in range(len(begins) - 1):
        at = begins[partition]
        end = begins[partition + 1]
        if at < end:
            p = _write_header(body, out, p, containers, np.int64(0), stretches)
        while at < end:
            resource = rows[order[at], RESOURCE]
            if resource < 0:
                p = _write_rows(body, out, p, rows, order, at, at + 1)
                at += 1
                continue
            size, resource_end = _resource_size(rows, order, at, end, containers)
            p = open_field(out, p, RESOURCES, size)
            p = _write_header(body, out, p, containers, resource, stretches)
            while at < resource_end:
                scope = rows[order[at], SCOPE]
                if scope < 0:
                    p = _write_rows(body, out, p, rows, order, at, at + 1)
                    at += 1
                    continue
                size, scope_end = _scope_size(rows, order, at, resource_end, containers)
                p = open_field(out, p, CHILDREN, size)
                p = _write_header(body, out, p, containers, scope, stretches)
                p = _write_rows(body, out, p, rows, order, at, scope_end)
                at = scope_end
