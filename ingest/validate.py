"""Is this an OTLP request that we may acknowledge? Decided on the wire bytes, without an object per item.

What is wrong with the request as a whole is refused; what is wrong with single items is cut out and counted, so that
the rest is kept. docs/otlp.md lists the rules. Until `warm_up` has run, the same rules run in Python.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from ingest import validate_walk as rules
from ingest.containers import cut
from ingest.precompile import compile_in_child, is_cached
from ingest.split import is_compiled as is_split_compiled
from ingest.split import without
from ingest.wire_schema import SCHEMA
from schemas.errors import MalformedRequestError, TooLargeError
from schemas.signals import NAMES, Signal

UINT64_MAX: Final = (1 << 64) - 1
# A range in Python and in an array; what taking a request apart notes of each of its messages.
_CUT_BYTES: Final = 160
_ELEMENT_BYTES: Final = 48
_COMPILED_FROM: Final = (
    *(f"ingest/{name}.py" for name in ("validate_kernel", "validate_walk", "wire_primitives", "wire_schema")),
    "schemas/wire.py",
)
_WIRE_TYPES: Final = ("varint", "fixed64", "length-delimited", "start group", "end group", "fixed32", "6", "7")
_RULES: Final = {
    rules.BAD_TAG: "a tag must be a varint of at most 5 bytes and 32 bits",
    rules.FIELD_ZERO: "a field number must not be 0",
    rules.WRONG_WIRE_TYPE: "this field must not have this wire type",
    rules.GROUP: "groups are refused",
    rules.BAD_WIRE_TYPE: "wire types 6 and 7 do not exist",
    rules.BAD_VARINT: "a varint must end within its message, within 10 bytes and 64 bits",
    rules.BAD_LENGTH: "a length must be a varint of at most 5 bytes and must not pass the end of the enclosing message",
    rules.TRUNCATED: "a fixed-width value must end within its message",
    rules.BAD_PACKED: "packed 8-byte values must have a length that is a multiple of 8",
    rules.TWICE: "a submessage that is not repeated, and a oneof, must occur at most once",
    rules.TOO_DEEP: f"values must nest at most {rules.LEVEL_MAX} levels and messages at most {rules.DEPTH_MAX}",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to append of a request and what to tell its sender.

    Attributes:
        items: spans, data points or log records in `body`.
        rejected: items that were cut out.
        reason: one sentence on them, for `partial_success`; '' when nothing was cut out.
        body: the request to append; the very object that was given when nothing was cut out, b'' when nothing is left.
        elements: submessages of the request as it was given, which measure its work: see `validate_walk.Scan`.
    """

    items: int
    rejected: int
    reason: str
    body: bytes
    elements: int = field(default=0, compare=False)


class _Validator:
    """Which of the two walks is in use: written once, by `warm_up`."""

    walk: Callable[[bytes, int, int, int, int, int], rules.Scan] = staticmethod(rules.walk)
    compiled = False
    warming = threading.Lock()


def validate(
    signal: Signal,
    body: bytes,
    *,
    now_ns: int,
    oldest_ns: int,
    newest_ns: int,
    max_items: int = rules.NO_BOUND,
    max_elements: int = rules.NO_BOUND,
    charge: Callable[[int], None] = lambda _bytes: None,
) -> Verdict:
    """Check `body`, an Export*ServiceRequest or several concatenated; thread-safe, and the GIL is free meanwhile.

    Args:
        signal: which request `body` is.
        body: protobuf bytes.
        now_ns: Unix nanoseconds, for the wording of a reason only.
        oldest_ns: items with an earlier time are rejected; Unix nanoseconds. An unset time is accepted.
        newest_ns: items with a later time are rejected.
        max_items: spans, data points or log records that it may hold, rejected ones too.
        max_elements: elements that it may hold.
        charge: told the bytes of memory that cutting takes, before they are taken; what it raises is passed on.

    Raises:
        MalformedRequestError: the wire structure is broken; names byte offset, message and rule.
        TooLargeError: over `max_items` or `max_elements`.
    """
    root = SCHEMA.roots[signal]
    try:
        scan = _Validator.walk(body, root, _uint64(oldest_ns), _uint64(newest_ns), max_items, max_elements)
    except rules.BrokenError as error:
        where = f"in the first {error.broken.position} of {len(body)} bytes"
        if error.broken.rule == rules.TOO_MANY_ITEMS:
            item = NAMES[signal].item
            raise TooLargeError(
                f"max_request_items: at most {max_items} {item} a request; received more, {max_items} {where}"
            ) from None
        if error.broken.rule == rules.TOO_MANY_ELEMENTS:
            raise TooLargeError(
                f"max_request_elements: at most {max_elements} messages inside a request; received more, "
                f"{max_elements} {where}"
            ) from None
        raise MalformedRequestError(_broken_rule(signal, error.broken)) from None
    if scan.fault is None:
        return Verdict(scan.items, 0, "", body, scan.elements)
    reason = _reason(signal, body, scan, scan.fault, now_ns, oldest_ns, newest_ns)
    charge(len(body) + _CUT_BYTES * len(scan.cuts) + _ELEMENT_BYTES * scan.elements)
    left = without(signal, body, scan.cuts) if is_split_compiled() else cut(signal, body, scan.cuts)
    return Verdict(scan.items - scan.lost, scan.lost, reason, left, scan.elements)


def is_compiled() -> bool:
    """Whether `validate` runs at full speed. It answers the same either way, some 150 times slower when not."""
    return _Validator.compiled


def warm_up() -> None:
    """Load the compiled validator; blocks for about half a second, several when it must be compiled first.

    Compiling happens in a child process that fills numba's cache on disk, because it would hold the GIL that acks need.
    Where the child cannot write the cache, it happens here. Safe to call again, and from any thread.
    """
    with _Validator.warming:
        if _Validator.compiled:
            return
        if not is_cached("validate_kernel.scan-*.nbi", _COMPILED_FROM):
            compile_in_child("ingest.validate_kernel")
        from ingest.validate_kernel import compiled_walk  # noqa: PLC0415  importing it is what compiles it

        _Validator.walk = staticmethod(compiled_walk)
        _Validator.compiled = True


def _uint64(time_ns: int) -> int:
    return min(max(time_ns, 0), UINT64_MAX)


def _broken_rule(signal: Signal, broken: rules.Broken) -> str:
    where = SCHEMA.field_name(broken.message, broken.tag) if broken.tag else SCHEMA.messages[broken.message].name
    wire = f" (wire type {_WIRE_TYPES[broken.tag & 7]})" if broken.tag else ""
    return f"{signal} request: byte {broken.position}, {where}{wire}: {_RULES[broken.rule]}"


def _reason(
    signal: Signal, body: bytes, scan: rules.Scan, fault: rules.Fault, now_ns: int, oldest_ns: int, newest_ns: int
) -> str:
    name = SCHEMA.field_name(fault.message, fault.tag)
    value = body[fault.position : fault.position + fault.size]
    shown = f"0x{value[:24].hex()}{'...' if fault.size > 24 else ''}"
    if fault.rule == rules.FAULT_ID:
        rule = f"{name} must have {fault.value} bytes or none, got {fault.size} ({shown})"
    elif fault.rule == rules.FAULT_TEXT:
        rule = f"{name} must be UTF-8, got {shown}"
    else:
        offsets = ((time_ns - now_ns) / 1e9 for time_ns in (oldest_ns, newest_ns, fault.value))
        rule = "{} must be from {:+.0f} s to {:+.0f} s of now or 0, got {} ({:+.0f} s)".format(
            name, *list(offsets)[:2], fault.value, (fault.value - now_ns) / 1e9
        )
    return (
        f"{scan.lost} of {scan.items} {NAMES[signal].item} rejected: {rule} at byte {fault.position}, the first fault."
    )
