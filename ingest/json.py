"""OTLP/JSON requests to protobuf bytes, by the rules of the OTLP specification, section "JSON Protobuf Encoding".

Only those rules live here (hex ids, enums as integers, strict numbers, JSON paths in errors); orjson reads the JSON
and the protobuf library writes the bytes. protobuf's own json_format is not used: it takes enum names and base64 ids,
and drops bad values without a word.
"""

from __future__ import annotations

import binascii
import math
import re
from collections.abc import Callable
from typing import Any, Final

import orjson
from google.protobuf.descriptor import Descriptor, FieldDescriptor

from ingest.wire_schema import ID_BYTES, ITEM_TIMES, REQUESTS
from schemas.errors import MalformedRequestError, TooLargeError
from schemas.signals import NAMES, Signal

DEPTH_MAX: Final = 256
_NUMBER: Final = re.compile(r"-?[0-9]{1,400}(\.[0-9]{1,400})?([eE][+-]?[0-9]{1,10})?", re.ASCII)
_INTEGER: Final = re.compile(r"-?[0-9]{1,400}", re.ASCII)
_NOT_FINITE: Final = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_URL_SAFE: Final = str.maketrans("-_", "+/")
_T = FieldDescriptor


class _WrongError(Exception):
    """A value breaks a rule; the path is put together on the way up."""

    def __init__(self, rule: str, value: Any) -> None:
        super().__init__(rule)
        self.rule = rule
        self.value = value
        self.path: list[str] = []


def encode_request(signal: Signal, body: bytes, *, max_depth: int, max_items: int = 1 << 62) -> bytes:
    """The Export*ServiceRequest protobuf of an OTLP/JSON body, equal in meaning; unknown fields are left out.

    Args:
        signal: which request `body` is.
        body: UTF-8 JSON.
        max_depth: objects and arrays inside each other, at most; the request itself is 1. At most 256.
        max_items: spans, data points or log records that it may hold.

    Raises:
        MalformedRequestError: no JSON, or a value breaks the OTLP rules; names JSON path, rule and value.
        TooLargeError: nested more than `max_depth` deep, in a field that we read; or over `max_items`.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequestError(f"{signal} request: not JSON: {error}") from None
    request = REQUESTS[signal]
    left = [max_items]
    try:
        fields = _message(document, _members(request.DESCRIPTOR), min(max_depth, DEPTH_MAX), left)
    except _WrongError as wrong:
        path = "$" + "".join(reversed(wrong.path))
        raise MalformedRequestError(f"{signal} request: {path}: {wrong.rule}, got {_shown(wrong.value)}") from None
    except _TooDeepError:
        raise TooLargeError(f"{signal} request: JSON nests more than {min(max_depth, DEPTH_MAX)} levels") from None
    except _TooManyError:
        raise TooLargeError(
            f"max_request_items: at most {max_items} {NAMES[signal].item} a request; received {max_items - left[0]} or "
            "more"
        ) from None
    encoded: bytes = request(**fields).SerializeToString()
    return encoded


class _TooDeepError(Exception):
    """Over the bound on depth."""


class _TooManyError(Exception):
    """Over the bound on items."""


class _Member:
    """How one field is read: by `read`, or else as a `message`. `oneof` is '' outside one."""

    __slots__ = ("is_item", "message", "name", "oneof", "read", "repeated")

    def __init__(self, field: FieldDescriptor) -> None:
        oneof = field.containing_oneof
        self.name = field.name
        self.repeated = field.is_repeated
        self.oneof = oneof.name if oneof is not None and len(oneof.fields) > 1 else ""
        self.message = field.message_type
        self.is_item = self.message is not None and self.message.name in ITEM_TIMES
        self.read = None if self.message is not None else _reader(field)


def _members(descriptor: Descriptor | None) -> dict[str, _Member]:
    """Members by lowerCamelCase and by original name."""
    if descriptor is None:
        return {}
    known = _MEMBERS.get(descriptor.full_name)
    if known is None:
        known = {name: _Member(field) for field in descriptor.fields for name in (field.json_name, field.name)}
        _MEMBERS[descriptor.full_name] = known
    return known


_MEMBERS: Final[dict[str, dict[str, _Member]]] = {}


def _message(value: Any, members: dict[str, _Member], depth: int, left: list[int]) -> dict[str, Any]:
    """Keyword arguments of a protobuf message.

    `depth` is how many levels may still follow, this one included; `left` holds how many items may.
    """
    if depth <= 0:
        raise _TooDeepError
    if type(value) is not dict:
        raise _WrongError("must be an object", value)
    fields: dict[str, Any] = {}
    chosen: dict[str, str] = {}
    for key, content in value.items():
        member = members.get(key)
        if member is None or content is None:
            continue
        if member.oneof and chosen.setdefault(member.oneof, member.name) != member.name:
            raise _WrongError(f"must hold only one of {chosen[member.oneof]} and {member.name}", value)
        try:
            if member.repeated:
                fields[member.name] = _list(content, member, depth - 1, left)
            elif member.read is None:
                fields[member.name] = _message(content, _members(member.message), depth - 1, left)
            else:
                fields[member.name] = member.read(content)
        except _WrongError as wrong:
            wrong.path.append(f".{key}")
            raise
    return fields


def _list(value: Any, member: _Member, depth: int, left: list[int]) -> list[Any]:
    if depth <= 0:
        raise _TooDeepError
    if type(value) is not list:
        raise _WrongError("must be an array", value)
    if member.is_item:
        left[0] -= len(value)
        if left[0] < 0:
            raise _TooManyError
    read = member.read
    members = _members(member.message)
    items: list[Any] = []
    index = 0
    try:
        for index, item in enumerate(value):  # noqa: B007  the index is read when an item is at fault
            items.append(read(item) if read else _message(item, members, depth - 1, left))
    except _WrongError as wrong:
        wrong.path.append(f"[{index}]")
        raise
    return items


def _integer(low: int, high: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        number = value
        if type(value) is str:
            if _INTEGER.fullmatch(value):
                number = int(value)
            elif _NUMBER.fullmatch(value):
                number = float(value)
        if type(number) is float and number.is_integer() and low < number < high:
            # The bounds are left out: past 64 bits orjson reads integers as the nearest double, which may be a bound.
            number = int(number)
        if type(number) is not int or not low <= number <= high:
            raise _WrongError(f"must be an integer from {low} to {high}, as a number or a string", value)
        return number

    return read


def _enum(value: Any) -> int:
    if type(value) is not int or not -(1 << 31) <= value < 1 << 31:
        raise _WrongError("must be the integer of the enum value (OTLP/JSON does not use enum names)", value)
    return value


def _double(value: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    if type(value) is str:
        if value in _NOT_FINITE:
            return _NOT_FINITE[value]
        if _NUMBER.fullmatch(value) and math.isfinite(number := float(value)):
            return number
    raise _WrongError('must be a finite number, as a number or a string, or "NaN", "Infinity", "-Infinity"', value)


def _bool(value: Any) -> bool:
    if type(value) is not bool:
        raise _WrongError("must be true or false", value)
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise _WrongError("must be a string", value)
    return value


def _hex(value: Any) -> bytes:
    if type(value) is str:
        try:
            return binascii.unhexlify(value)
        except ValueError:
            pass
    raise _WrongError("must be a string of hexadecimal digits, two a byte", value)


def _base64(value: Any) -> bytes:
    if type(value) is str:
        digits = value.rstrip("=").translate(_URL_SAFE)
        try:
            return binascii.a2b_base64(digits + "=" * (-len(digits) % 4), strict_mode=True)
        except ValueError:
            pass
    raise _WrongError("must be a string in base64", value)


_READERS: Final[dict[int, Callable[[Any], Any]]] = {
    _T.TYPE_INT32: _integer(-(1 << 31), (1 << 31) - 1),
    _T.TYPE_SINT32: _integer(-(1 << 31), (1 << 31) - 1),
    _T.TYPE_UINT32: _integer(0, (1 << 32) - 1),
    _T.TYPE_FIXED32: _integer(0, (1 << 32) - 1),
    _T.TYPE_INT64: _integer(-(1 << 63), (1 << 63) - 1),
    _T.TYPE_SFIXED64: _integer(-(1 << 63), (1 << 63) - 1),
    _T.TYPE_UINT64: _integer(0, (1 << 64) - 1),
    _T.TYPE_FIXED64: _integer(0, (1 << 64) - 1),
    _T.TYPE_DOUBLE: _double,
    _T.TYPE_BOOL: _bool,
    _T.TYPE_STRING: _string,
    _T.TYPE_BYTES: _base64,
    _T.TYPE_ENUM: _enum,
}


def _reader(field: FieldDescriptor) -> Callable[[Any], Any]:
    if field.name in ID_BYTES and field.type == _T.TYPE_BYTES:
        return _hex
    return _READERS[field.type]


def _shown(value: Any) -> str:
    """The start of a value, as JSON."""
    if type(value) is dict or type(value) is list:
        return f"{'an object' if type(value) is dict else 'an array'} of {len(value)}"
    text = orjson.dumps(value).decode()
    return text if len(text) <= 60 else f"{text[:60]}..."
