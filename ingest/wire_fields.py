"""Whole fields of validated requests, compiled: past them, and written again.

For code that takes requests apart and puts others together: `partition_kernel` and `split_kernel`.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from ingest.wire_primitives import past_varint, prefix
from schemas.jit import inlined


@intrinsic
def copy(typing_context, target, to, source, position, size):
    """Copy bytes between arrays that do not overlap."""

    def codegen(context, builder, signature, args):
        def pointer(at, offset):
            data = context.make_array(signature.args[at])(context, builder, args[at]).data
            return builder.gep(data, [offset])

        cgutils.raw_memcpy(builder, pointer(0, args[1]), pointer(2, args[3]), args[4], 1)
        return context.get_dummy_value()

    return types.none(target, types.int64, source, types.int64, types.int64), codegen


@inlined
def after_field(body, p, end, tag):
    """(start of the value, end of the field) for a field whose tag ended at `p`."""
    wire = tag & 7
    if wire == 2:
        size, p = prefix(body, p, end)
        return p, p + size
    if wire == 0:
        return p, past_varint(body, p, end)
    return p, p + (8 if wire == 1 else 4)


@inlined
def varint_size(value):
    size = np.int64(1)
    while value > 127:
        value >>= 7
        size += 1
    return size


@inlined
def open_field(out, p, tag, size):
    """Write a tag and a length; the position after them."""
    out[p] = tag
    p += 1
    while size > 127:
        out[p] = (size & 127) | 128
        p += 1
        size >>= 7
    out[p] = size
    return p + 1
