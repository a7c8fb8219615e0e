"""The wire validator, compiled. Importing this module compiles `scan` or loads it from numba's cache on disk.

Its rules, results and order of findings are those of `ingest.validate_walk`, which is the same validator in Python; a
property test holds the two equal.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
from numba import njit, types

import schemas.wire
from ingest import validate_walk, wire_primitives, wire_schema
from ingest.validate_walk import (
    BAD_LENGTH,
    BAD_PACKED,
    BAD_TAG,
    BAD_VARINT,
    BAD_WIRE_TYPE,
    DEPTH_MAX,
    FAULT_ID,
    FAULT_TEXT,
    FAULT_TIME,
    FIELD_ZERO,
    GROUP,
    LEAST_ATTRIBUTE_BYTES,
    LEVEL_MAX,
    NO_BOUND,
    TOO_DEEP,
    TOO_MANY_ELEMENTS,
    TOO_MANY_ITEMS,
    TRUNCATED,
    TWICE,
    WRONG_WIRE_TYPE,
    Broken,
    BrokenError,
    Fault,
    Scan,
)
from ingest.wire_primitives import is_plain_attribute, past_varint, prefix
from ingest.wire_schema import (
    ANY_VALUE,
    CONTAINER,
    FIXED32,
    FIXED64,
    ID,
    ITEM,
    KEY_VALUE,
    MESSAGE,
    PACKED_FIXED64,
    PACKED_VARINT,
    SCHEMA,
    STRING,
    TIME,
    VARINT,
    WRONG,
)
from schemas.wire import is_utf8, load_u64

# numba keys its cache by this file alone, while the code in it holds constants and functions of these. So the compiled
# code reports what it was compiled from, and is compiled anew when that is not what is installed.
SOURCES = tuple(Path(str(module.__file__)) for module in (validate_walk, wire_primitives, wire_schema, schemas.wire))
FINGERPRINT = zlib.crc32(b"".join(source.read_bytes() for source in SOURCES))
ZERO = np.uint64(0)


@njit(
    types.int64(
        types.Array(types.uint8, 1, "C", readonly=True),
        types.Array(types.uint16, 2, "C", readonly=True),
        types.int64,
        types.uint64,
        types.uint64,
        types.int64,
        types.int64,
        types.int64[:, ::1],
        types.int64[::1],
    ),
    nogil=True,
    cache=True,
)
def scan(body, table, root, oldest, newest, most_items, most_elements, ranges, found):
    """Walk one request; returns 0 or the code of the broken structural rule. It ends at the first item or element that
    is one too many, so that a refusal costs no more than what is allowed.

    `ranges` (n, 2) takes [start, end) of the first n rejected fields, tag included. `found` takes items, lost items,
    number of ranges, position, message and tag of the broken rule, then code, position, size, value, message and tag of
    the first fault of an item, what the code was compiled from, and elements.
    """
    size = len(body)
    stack = np.empty((DEPTH_MAX + 1, 2), np.int64)
    cuts = np.empty((8, 5), np.int64)
    depth = np.int64(0)
    cut = np.int64(0)
    cuts[0, 0] = 0
    cuts[0, 1] = 0
    cuts[0, 2] = 0
    cuts[0, 3] = 0
    cuts[0, 4] = 0
    items = np.int64(0)
    elements = np.int64(0)
    lost = np.int64(0)
    count = np.int64(0)
    error = np.int64(0)
    fault = np.int64(0)
    message = np.int64(root)
    kind = np.int64(0)
    level = np.int64(0)
    seen = np.int64(0)
    time = ZERO
    time_at = np.int64(0)
    time_tag = np.int64(0)
    observed = ZERO
    observed_at = np.int64(0)
    observed_tag = np.int64(0)
    p = np.int64(0)
    start = np.int64(0)
    tag = np.int64(0)
    end = np.int64(size)
    while True:
        while p == end:
            if kind == ITEM:
                if time == ZERO:
                    time = observed
                    time_at = observed_at
                    time_tag = observed_tag
                if time != ZERO and (time < oldest or time > newest):
                    cuts[cut, 4] = 1
                    if fault == 0:
                        fault = FAULT_TIME
                        found[7] = time_at
                        found[8] = 8
                        found[9] = np.int64(time)
                        found[10] = message
                        found[11] = time_tag
            if CONTAINER <= kind <= ITEM:
                if cuts[cut, 4] != 0:
                    lost = cuts[cut, 2] + items - cuts[cut, 1]
                    count = cuts[cut, 3]
                    if count < len(ranges):
                        ranges[count, 0] = cuts[cut, 0]
                        ranges[count, 1] = p
                    count += 1
                cut -= 1
            if depth == 0:
                found[0] = items
                found[1] = lost
                found[2] = count
                found[6] = fault
                found[12] = FINGERPRINT
                found[13] = elements
                return 0
            depth -= 1
            end = stack[depth, 0]
            packed = stack[depth, 1]
            message = packed & 255
            kind = (packed >> 8) & 7
            level = (packed >> 11) & 63
            seen = packed >> 17
        start = p
        tag = np.int64(body[p])
        if tag < 128:
            p += 1
        else:
            tag, p = prefix(body, p, end)
            if tag < 0:
                tag = 0
                error = BAD_TAG
                break
        entry = np.int64(0)
        if tag < 256:
            entry = np.int64(table[message, tag])
        action = entry & 15
        once = (entry >> 4) & 7
        if once != 0:
            if seen >> once & 1:
                error = TWICE
                break
            seen |= 1 << once
        if MESSAGE <= action <= PACKED_VARINT:
            length, p = prefix(body, p, end)
            if length < 0 or length > end - p:
                error = BAD_LENGTH
                break
            stop = p + length
            if action == MESSAGE:
                target = entry >> 10
                child = (entry >> 7) & 7
                shallow = level < LEVEL_MAX and depth < DEPTH_MAX - 1
                if child == KEY_VALUE and shallow and is_plain_attribute(body, p, stop, size):
                    p = stop
                    continue
                if depth == DEPTH_MAX or (child == ANY_VALUE and level == LEVEL_MAX):
                    error = TOO_DEEP
                    break
                if child == KEY_VALUE:
                    elements += length < LEAST_ATTRIBUTE_BYTES
                elif kind != KEY_VALUE:
                    elements += 1
                if elements > most_elements:
                    error = TOO_MANY_ELEMENTS
                    break
                if child == ITEM and items == most_items:
                    error = TOO_MANY_ITEMS
                    break
                stack[depth, 0] = end
                stack[depth, 1] = message | kind << 8 | level << 11 | seen << 17
                depth += 1
                if child == ANY_VALUE:
                    level += 1
                elif CONTAINER <= child <= ITEM:
                    cut += 1
                    cuts[cut, 0] = start
                    cuts[cut, 1] = items
                    cuts[cut, 2] = lost
                    cuts[cut, 3] = count
                    cuts[cut, 4] = 0
                    if child == ITEM:
                        items += 1
                        time = ZERO
                        observed = ZERO
                message = target
                kind = child
                seen = 0
                end = stop
                continue
            if action == STRING:
                if not is_utf8(body, p, stop, size):
                    cuts[cut, 4] = 1
                    if fault == 0:
                        fault = FAULT_TEXT
                        found[7] = p
                        found[8] = length
                        found[9] = 0
                        found[10] = message
                        found[11] = tag
            elif action == ID:
                if length != 0 and length != entry >> 10:
                    cuts[cut, 4] = 1
                    if fault == 0:
                        fault = FAULT_ID
                        found[7] = p
                        found[8] = length
                        found[9] = entry >> 10
                        found[10] = message
                        found[11] = tag
            elif action == PACKED_FIXED64:
                if length & 7:
                    error = BAD_PACKED
                    break
            elif action == PACKED_VARINT:
                while p < stop:
                    p = past_varint(body, p, stop)
                    if p < 0:
                        error = BAD_VARINT
                        break
                if error != 0:
                    break
            p = stop
        elif action == VARINT:
            p = past_varint(body, p, end)
            if p < 0:
                error = BAD_VARINT
                break
        elif action == FIXED64:
            if end - p < 8:
                error = TRUNCATED
                break
            p += 8
        elif action == TIME:
            if end - p < 8:
                error = TRUNCATED
                break
            if entry >> 10 == 0:
                time = load_u64(body, p)
                time_at = p
                time_tag = tag
            else:
                observed = load_u64(body, p)
                observed_at = p
                observed_tag = tag
            p += 8
        elif action == FIXED32:
            if end - p < 4:
                error = TRUNCATED
                break
            p += 4
        elif action == WRONG:
            error = WRONG_WIRE_TYPE
            break
        else:
            if tag < 8:
                error = FIELD_ZERO
                break
            wire = tag & 7
            if wire == 0:
                p = past_varint(body, p, end)
                if p < 0:
                    error = BAD_VARINT
                    break
            elif wire == 2:
                length, p = prefix(body, p, end)
                if length < 0 or length > end - p:
                    error = BAD_LENGTH
                    break
                p += length
            elif wire in (1, 5):
                width = 8 if wire == 1 else 4
                if end - p < width:
                    error = TRUNCATED
                    break
                p += width
            else:
                error = GROUP if wire < 5 else BAD_WIRE_TYPE
                break
    found[3] = start
    found[4] = message
    found[5] = tag
    return error


def compiled_walk(
    body: bytes, root: int, oldest: int, newest: int, most_items: int = NO_BOUND, most_elements: int = NO_BOUND
) -> Scan:
    """`validate_walk.walk`, compiled: the same arguments, result and error. Holds the GIL for microseconds only."""
    wire = np.frombuffer(body, np.uint8)
    found = np.zeros(_FOUND, np.int64)
    given = (SCHEMA.table, root, np.uint64(oldest), np.uint64(newest), most_items, most_elements)
    rule = scan(wire, *given, _NO_RANGES, found)
    if rule:
        raise BrokenError(Broken(int(rule), int(found[3]), int(found[4]), int(found[5])))
    count = int(found[2])
    if count == 0:
        return Scan(int(found[0]), int(found[13]), 0, [], None)
    # Only a request with faults is walked twice: the first walk says how many ranges there are to keep.
    ranges = np.empty((count, 2), np.int64)
    scan(wire, *given, ranges, found)
    fault = Fault(*(int(value) for value in found[6:12]))
    if fault.rule == FAULT_TIME:
        fault = fault._replace(value=fault.value % (1 << 64))
    return Scan(int(found[0]), int(found[13]), int(found[1]), [(start, end) for start, end in ranges.tolist()], fault)


def _fingerprint_compiled() -> int:
    found = np.zeros(_FOUND, np.int64)
    scan(np.frombuffer(b"", np.uint8), SCHEMA.table, 0, ZERO, ZERO, 0, 0, _NO_RANGES, found)
    return int(found[12])


_FOUND = 14
_NO_RANGES = np.empty((0, 2), np.int64)
if _fingerprint_compiled() != FINGERPRINT:
    scan.recompile()
