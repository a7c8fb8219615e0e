"""Reading protobuf's wire format from a byte array, compiled: bounds-checked, no Python objects, no exceptions.

A read that would pass the end of its message returns the position `BROKEN`, which is larger than any end: loops of the
form `while p < end` then stop by themselves, and the check `p != end` after the loop finds the fault. So every message
costs one comparison, not one for each field. Source: the protobuf encoding specification.

Every byte array given to these functions MUST end in `PADDING` bytes that belong to no message: unaligned loads may
touch up to 16 bytes past the value that they are for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from schemas.jit import compiled, inlined

PADDING = 32
BROKEN = np.int64(1 << 62)
VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
_HIGH_BITS = np.uint64(0x8080808080808080)
__all__ = [
    "BROKEN",
    "PADDING",
    "compiled",
    "copy_16",
    "copy_bytes",
    "double_of",
    "fixed32",
    "fixed64",
    "inlined",
    "is_utf8",
    "length",
    "load_u32",
    "load_u64",
    "skip",
    "skip_field",
    "store_u16",
    "store_u64",
    "varint",
]


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, position: Any, to: Any) -> Any:
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [position]), to.as_pointer())


@intrinsic
def load_u64(typing_context, array, position):
    """Eight bytes, little endian, at any alignment."""

    def codegen(context, builder, signature, args):
        return builder.load(_pointer(context, builder, signature.args[0], *args, ir.IntType(64)), align=1)

    return types.uint64(array, types.int64), codegen


@intrinsic
def load_u32(typing_context, array, position):
    """Four bytes, little endian, at any alignment, as UInt64 so that arithmetic stays in integers."""

    def codegen(context, builder, signature, args):
        value = builder.load(_pointer(context, builder, signature.args[0], *args, ir.IntType(32)), align=1)
        return builder.zext(value, ir.IntType(64))

    return types.uint64(array, types.int64), codegen


@intrinsic
def store_u64(typing_context, array, position, value):
    """Write eight bytes, little endian, at any alignment."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], ir.IntType(64))
        builder.store(args[2], pointer, align=1)
        return context.get_dummy_value()

    return types.none(array, types.int64, types.uint64), codegen


@intrinsic
def store_u16(typing_context, array, position, value):
    """Write two bytes, little endian, at any alignment."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], args[0], args[1], ir.IntType(16))
        builder.store(args[2], pointer, align=1)
        return context.get_dummy_value()

    return types.none(array, types.int64, types.uint16), codegen


@intrinsic
def folded_product(typing_context, a, b):
    """The exclusive or of both halves of the 128-bit product of two UInt64."""

    def codegen(context, builder, signature, args):
        wide = ir.IntType(128)
        product = builder.mul(builder.zext(args[0], wide), builder.zext(args[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), ir.IntType(64))
        return builder.xor(high, builder.trunc(product, ir.IntType(64)))

    return types.uint64(types.uint64, types.uint64), codegen


@intrinsic
def double_of(typing_context, bits):
    """The Float64 with these 64 bits."""

    def codegen(context, builder, signature, args):
        return builder.bitcast(args[0], ir.DoubleType())

    return types.float64(types.int64), codegen


@intrinsic
def copy_16(typing_context, target, to, source, position):
    """Copy 16 bytes: one vector load and store."""

    def codegen(context, builder, signature, args):
        vector = ir.VectorType(ir.IntType(8), 16)
        value = builder.load(_pointer(context, builder, signature.args[2], args[2], args[3], vector), align=1)
        builder.store(value, _pointer(context, builder, signature.args[0], args[0], args[1], vector), align=1)
        return context.get_dummy_value()

    return types.none(target, types.int64, source, types.int64), codegen


@intrinsic
def prefetch(typing_context, array, position):
    """Ask for the cache line of a position that will be read soon; any position will do, also one past the end."""

    def codegen(context, builder, signature, args):
        pointer = _pointer(context, builder, signature.args[0], *args, ir.IntType(8))
        number = ir.IntType(32)
        function = builder.module.declare_intrinsic(
            "llvm.prefetch",
            (ir.IntType(8).as_pointer(),),
            ir.FunctionType(ir.VoidType(), [ir.IntType(8).as_pointer(), number, number, number]),
        )
        builder.call(function, [pointer, ir.Constant(number, 0), ir.Constant(number, 2), ir.Constant(number, 1)])
        return context.get_dummy_value()

    return types.none(array, types.int64), codegen


@inlined
def copy_bytes(target, to, source, position, size):
    """Copy `size` bytes in steps of 16: both arrays need `PADDING` bytes of slack."""
    copy_16(target, to, source, position)
    done = np.int64(16)
    while done < size:
        copy_16(target, to + done, source, position + done)
        done += 16


@compiled
def _long_varint(buffer, p, end):
    value = np.uint64(0)
    shift = np.uint64(0)
    stop = min(end, p + 10)
    while p < stop:
        byte = np.uint64(buffer[p])
        p += 1
        value |= (byte & np.uint64(127)) << shift
        if byte < np.uint64(128):
            return value, p
        shift += np.uint64(7)
    return np.uint64(0), BROKEN


@inlined
def varint(buffer, p, end):
    """A base-128 varint as UInt64 and the position after it; (0, BROKEN) when truncated or over 10 bytes."""
    if p < end:
        first = buffer[p]
        if first < 128:
            return np.uint64(first), p + 1
        return _long_varint(buffer, p, end)
    return np.uint64(0), BROKEN


@inlined
def length(buffer, p, end):
    """A length prefix: (start, stop) of the bytes that follow; (BROKEN, BROKEN) when they do not fit in the message."""
    size, start = varint(buffer, p, end)
    if start > end or size > np.uint64(end - start):
        return BROKEN, BROKEN
    return start, start + np.int64(size)


@compiled
def skip(buffer, p, end, wire_type):
    """The position after a field's value; BROKEN for groups (deprecated, in no OTLP message) and unknown wire types."""
    if wire_type == LENGTH:
        _, p = length(buffer, p, end)
    elif wire_type == VARINT:
        _, p = varint(buffer, p, end)
    elif wire_type == FIXED64:
        p += 8
    elif wire_type == FIXED32:
        p += 4
    else:
        return BROKEN
    return p if p <= end else BROKEN


@inlined
def skip_field(buffer, p, end, tag):
    """The position after the value of a field that is not read; BROKEN for field number 0."""
    return skip(buffer, p, end, tag & np.uint64(7)) if tag > np.uint64(7) else BROKEN


@inlined
def fixed64(buffer, p, end):
    """Eight bytes as UInt64 and the position after them."""
    if p + 8 > end:
        return np.uint64(0), BROKEN
    return load_u64(buffer, p), p + 8


@inlined
def fixed32(buffer, p, end):
    """Four bytes as UInt64 and the position after them."""
    if p + 4 > end:
        return np.uint64(0), BROKEN
    return load_u32(buffer, p), p + 4


@compiled
def _utf8_rest(body, p, end):
    while p < end:
        c = body[p]
        if c < 0x80:
            p += 1
        elif c < 0xC2:
            return False
        elif c < 0xE0:
            if end - p < 2 or body[p + 1] & 0xC0 != 0x80:
                return False
            p += 2
        elif c < 0xF0:
            if end - p < 3 or body[p + 1] & 0xC0 != 0x80 or body[p + 2] & 0xC0 != 0x80:
                return False
            if (c == 0xE0 and body[p + 1] < 0xA0) or (c == 0xED and body[p + 1] > 0x9F):
                return False
            p += 3
        elif c < 0xF5:
            if end - p < 4 or body[p + 1] & 0xC0 != 0x80 or body[p + 2] & 0xC0 != 0x80 or body[p + 3] & 0xC0 != 0x80:
                return False
            if (c == 0xF0 and body[p + 1] < 0x90) or (c == 0xF4 and body[p + 1] > 0x8F):
                return False
            p += 4
        else:
            return False
    return True


@inlined
def is_utf8(body, p, end, size):
    """Whether body[p:end] is UTF-8 (RFC 3629): eight bytes at a time while they are ASCII.

    A load never passes `size`, the end of the array, so that it needs no padding.
    """
    while end - p >= 8:
        if load_u64(body, p) & _HIGH_BITS != np.uint64(0):
            return _utf8_rest(body, p, end)
        p += 8
    if p == end:
        return True
    if p + 8 <= size and (load_u64(body, p) & _HIGH_BITS) << np.uint64(64 - 8 * (end - p)) == np.uint64(0):
        return True
    return _utf8_rest(body, p, end)
