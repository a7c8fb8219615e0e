"""What a KeyValue and an AnyValue hold, as byte ranges. Source: opentelemetry-proto common/v1/common.proto."""

from __future__ import annotations

import numpy as np

from schemas.wire import compiled, fixed64, length, skip_field, varint

NOTHING, STRING, BOOL, INT, DOUBLE, ARRAY, MAP, BYTES = 0, 1, 2, 3, 4, 5, 6, 7


@compiled
def any_value(buffer, p, end):
    """What an AnyValue holds: (kind, first, second, ok).

    first and second are the byte range of strings, bytes, arrays and maps; first is the integer, the 0 or 1, or the
    bits of the double. The last field wins, as in every protobuf oneof. `ok` is False for malformed bytes.
    """
    kind, first, second = NOTHING, np.int64(0), np.int64(0)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x0A):
            kind = STRING
            first, p = length(buffer, p, end)
            second = p
        elif tag == np.uint64(0x18):
            kind = INT
            value, p = varint(buffer, p, end)
            first = np.int64(value)
        elif tag == np.uint64(0x10):
            kind = BOOL
            value, p = varint(buffer, p, end)
            first = np.int64(value != np.uint64(0))
        elif tag == np.uint64(0x21):
            kind = DOUBLE
            value, p = fixed64(buffer, p, end)
            first = np.int64(value)
        elif tag == np.uint64(0x2A) or tag == np.uint64(0x32) or tag == np.uint64(0x3A):
            kind = np.int64(tag >> np.uint64(3))
            first, p = length(buffer, p, end)
            second = p
        else:
            p = skip_field(buffer, p, end, tag)
    return kind, first, second, p == end


@compiled
def key_and_value(buffer, p, end):
    """The ranges in a KeyValue: (key start, key stop, value start, value stop, ok); a missing part is empty."""
    key, key_stop, value, value_stop = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while p < end:
        tag, p = varint(buffer, p, end)
        if tag == np.uint64(0x0A):
            key, p = length(buffer, p, end)
            key_stop = p
        elif tag == np.uint64(0x12):
            value, p = length(buffer, p, end)
            value_stop = p
        else:
            p = skip_field(buffer, p, end, tag)
    return key, key_stop, value, value_stop, p == end
