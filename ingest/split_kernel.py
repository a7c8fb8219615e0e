"""Taking requests apart, compiled. Importing this module compiles it or loads it from numba's cache on disk.

`find` walks a request down to its items; `pack` says which of them make a part; `write` writes a part, headers
repeated, fields copied as they were sent. No field below an item is looked at. Requests MUST have passed validation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, types

from ingest.wire_fields import after_field, copy, open_field, varint_size
from ingest.wire_primitives import prefix
from schemas.jit import compiled, inlined

# A row is what moves as one: an item, or a container without any, copied whole; and the container that it is in.
START, STOP, CONTAINER, ITEMS, ROW_COLUMNS = range(5)
# A container's header is all of its fields that hold no items, as stretches of the request. The first is the request.
PARENT, TAG, FIRST_STRETCH, STRETCHES, HEADER_BYTES, CONTAINER_COLUMNS = range(6)
# Of a part: its first row, the row behind its last, the most bytes that it takes, its items.
FIRST_ROW, END_ROW, SIZE_BYTES, PART_ITEMS, PART_COLUMNS = range(5)
# Request, resource, scope, metric, data: the containers that an item is in at most, and the item.
LEVELS = 6
# A tag and a length of up to five bytes come back around each container.
FRAME_BYTES = np.int64(6)
_BODY = types.Array(types.uint8, 1, "C", readonly=True)
_CHILDREN = types.Array(types.uint8, 2, "C", readonly=True)
_TABLE = types.int32[:, ::1]
_CELLS = types.int64[::1]
_OPTIONS: Any = {"nogil": True, "cache": True, "_nrt": False}


@inlined
def _is_child(children, level, tag):
    return level < len(children) and tag < 256 and children[level, tag] != 0


@compiled
def _header(body, p, end, children, level, containers, container, stretches, count):
    """Note the header of a message. Returns (stretches so far, children)."""
    first = count
    last_stop = np.int64(-1)
    size = np.int64(0)
    inside = np.int64(0)
    while p < end:
        start = p
        tag, p = prefix(body, p, end)
        _, p = after_field(body, p, end, tag)
        if _is_child(children, level, tag):
            inside += 1
            continue
        size += p - start
        if last_stop == start:
            if count <= len(stretches):
                stretches[count - 1, 1] = p
        else:
            if count < len(stretches):
                stretches[count, 0] = start
                stretches[count, 1] = p
            count += 1
        last_stop = p
    if container < len(containers):
        containers[container, FIRST_STRETCH] = first
        containers[container, STRETCHES] = count - first
        containers[container, HEADER_BYTES] = size
    return count, inside


@njit(types.void(_BODY, _CHILDREN, types.int64[:, ::1], _TABLE, _TABLE, _TABLE, _CELLS, _CELLS), **_OPTIONS)
def find(body, children, cuts, rows, containers, stretches, stack, found):
    """Walk a request. `found` takes how many rows, containers and stretches there are; where there are more than fit,
    what was written is of no use.

    `children` (levels, 256) marks the tags that hold what is below each level. `cuts` (n, 2) are the fields to leave
    out, disjoint and in order. `stack` has room for 2 * LEVELS cells.
    """
    levels = len(children)
    row = np.int64(0)
    container = np.int64(1)
    cut = np.int64(0)
    level = np.int64(0)
    stack[0] = len(body)
    stack[LEVELS] = 0
    if len(containers):
        containers[0, PARENT] = -1
        containers[0, TAG] = 0
    stretch, _ = _header(body, np.int64(0), np.int64(len(body)), children, level, containers, np.int64(0), stretches,
                         np.int64(0))  # fmt: skip
    p = np.int64(0)
    while True:
        while p == stack[level]:
            if level == 0:
                found[0] = row
                found[1] = container
                found[2] = stretch
                return
            level -= 1
        start = p
        tag, p = prefix(body, p, stack[level])
        value, p = after_field(body, p, stack[level], tag)
        if not _is_child(children, level, tag):
            continue
        while cut < len(cuts) and cuts[cut, 0] < start:
            cut += 1
        if cut < len(cuts) and cuts[cut, 0] == start:
            continue
        inside = np.int64(0)
        before = stretch
        if level + 1 < levels:
            stretch, inside = _header(body, value, p, children, level + 1, containers, container, stretches, stretch)
        if inside == 0:
            stretch = before
            if row < len(rows):
                rows[row, START] = start
                rows[row, STOP] = p
                rows[row, CONTAINER] = stack[LEVELS + level]
                rows[row, ITEMS] = level + 1 == levels
            row += 1
            continue
        if container < len(containers):
            containers[container, PARENT] = stack[LEVELS + level]
            containers[container, TAG] = tag
        level += 1
        stack[level] = p
        stack[LEVELS + level] = container
        container += 1
        p = value


@inlined
def _is_in(containers, container, outer):
    """Whether `container` is `outer` or in it. Containers are numbered as they begin."""
    while container > outer:
        container = np.int64(containers[container, PARENT])
    return container == outer


@inlined
def _newly_open(containers, container, last):
    """Bytes of the headers and frames around `container` that are not around `last`, the container before it."""
    size = np.int64(0)
    while not _is_in(containers, last, container):
        size += containers[container, HEADER_BYTES] + FRAME_BYTES
        container = np.int64(containers[container, PARENT])
    return size


@njit(types.int64(_TABLE, types.int64, _TABLE, types.int64, types.int64, types.int64[:, ::1]), **_OPTIONS)
def pack(rows, count, containers, max_bytes, max_items, parts):
    """Fill `parts` in the order of the rows; returns how many there are, or -1 - row for a row that fits in none."""
    part = np.int64(-1)
    size = np.int64(0)
    items = np.int64(0)
    last = np.int64(0)
    for row in range(count):
        container = np.int64(rows[row, CONTAINER])
        own = np.int64(rows[row, STOP]) - rows[row, START]
        more = own + _newly_open(containers, container, last)
        if part < 0 or size + more > max_bytes or items + rows[row, ITEMS] > max_items:
            part += 1
            items = np.int64(0)
            size = containers[0, HEADER_BYTES] + own + _newly_open(containers, container, np.int64(0))
            if size > max_bytes:
                return -1 - row
            if part < len(parts):
                parts[part, FIRST_ROW] = row
        else:
            size += more
        items += rows[row, ITEMS]
        last = container
        if part < len(parts):
            parts[part, END_ROW] = row + 1
            parts[part, SIZE_BYTES] = size
            parts[part, PART_ITEMS] = items
    return part + 1


@inlined
def _prepend_header(body, out, p, containers, container, stretches):
    first = containers[container, FIRST_STRETCH]
    for n in range(first + containers[container, STRETCHES] - 1, first - 1, -1):
        size = np.int64(stretches[n, 1]) - stretches[n, 0]
        p -= size
        copy(out, p, body, np.int64(stretches[n, 0]), size)
    return p


@inlined
def _close(body, out, p, containers, container, stretches, stop):
    """The header, length and tag of a container whose content begins at `p` and ends at `stop`."""
    p = _prepend_header(body, out, p, containers, container, stretches)
    size = stop - p
    p -= 1 + varint_size(size)
    open_field(out, p, containers[container, TAG], size)
    return p


@njit(types.int64(_BODY, _TABLE, types.int64, types.int64, _TABLE, _TABLE, _CELLS, types.uint8[::1]), **_OPTIONS)
def write(body, rows, first, end, containers, stretches, stack, out):
    """Write the rows from `first` to before `end` as one request that ends with `out`; returns where it begins.

    From its end to its beginning: a length is known once what it counts is written.
    """
    p = np.int64(len(out))
    depth = np.int64(0)
    for row in range(end - 1, first - 1, -1):
        container = np.int64(rows[row, CONTAINER])
        while depth > 0 and not _is_in(containers, container, stack[depth - 1]):
            depth -= 1
            p = _close(body, out, p, containers, stack[depth], stretches, stack[LEVELS + depth])
        open_from = stack[depth - 1] if depth > 0 else np.int64(0)
        above = container
        opened = np.int64(0)
        while above != open_from:
            opened += 1
            above = np.int64(containers[above, PARENT])
        above = container
        for n in range(depth + opened - 1, depth - 1, -1):
            stack[n] = above
            stack[LEVELS + n] = p
            above = np.int64(containers[above, PARENT])
        depth += opened
        size = np.int64(rows[row, STOP]) - rows[row, START]
        p -= size
        copy(out, p, body, np.int64(rows[row, START]), size)
    while depth > 0:
        depth -= 1
        p = _close(body, out, p, containers, stack[depth], stretches, stack[LEVELS + depth])
    return _prepend_header(body, out, p, containers, np.int64(0), stretches)
