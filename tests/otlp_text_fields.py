"""Every text of OTLP by the protocol's definitions, and a full request for each that has a marker just there."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.otlp_requests import DATA, INTEGER_BITS, NOW_NS

MARKER_PATTERN = "qz[0-9]{6}q"
_TEXT = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
# A value, one in a list or map, and one in a list or map of that.
_NESTED = 3
_VALUE_STEPS = ("KeyValue.key", "KeyValue.value", "AnyValue.", "ArrayValue.values", "KeyValueList.values")


@dataclass(frozen=True)
class TextField:
    """A string or bytes field, by the fields that lead to it from a request.

    Attributes:
        data: the kind of metric.
        key: the name of the attribute that holds the value, if any does.
    """

    path: tuple[FieldDescriptor, ...]
    data: str = DATA[0]
    key: str = "plain"

    @property
    def steps(self) -> list[str]:
        """Each field of the path as `Message.field`."""
        return [f"{_name(field.containing_type)}.{field.name}" for field in self.path]

    @property
    def name(self) -> str:
        """What documents call it: the field that holds the value, or `KeyValue.key` for names of attributes."""
        steps = self.steps
        while steps[-1].startswith(_VALUE_STEPS):
            if steps[-1] == "KeyValue.key" and not steps[-2].startswith(_VALUE_STEPS):
                return steps[-1]
            steps.pop()
        return steps[-1]

    def marker(self, number: int) -> bytes:
        """The value to plant."""
        size = _ID_BYTES.get(self.path[-1].name)
        return f"qz{number:06}q".encode() if size is None else b"i%07d" % number * (size // 8)

    def request(self, number: int) -> Any:
        """A request with a value in every field, and the marker in this one."""
        message = GetMessageClass(self.path[0].containing_type)()
        self._fill(message, self.path, number)
        return message

    def _fill(self, message: Any, path: tuple[FieldDescriptor, ...], number: int) -> None:
        ours = path[0] if path else None
        for field in _chosen(message.DESCRIPTOR, ours, self.data):
            rest = path[1:] if ours is not None and field.name == ours.name else ()
            if field.message_type is not None:
                holder = getattr(message, field.name)
                inner = holder.add() if field.is_repeated else holder
                inner.SetInParent()
                self._fill(inner, rest, number)
                continue
            if field == ours:
                value = self.marker(number)
            else:
                value = self.key.encode() if field.name == "key" else _plain(field, number)
            if field.type == FieldDescriptor.TYPE_STRING:
                value = value.decode()
            if field.is_repeated:
                # A histogram has a bucket more than it has bounds.
                getattr(message, field.name).extend([value] * (2 if field.name == "bucket_counts" else 1))
            else:
                setattr(message, field.name, value)


def spellings(marker: bytes) -> tuple[bytes, ...]:
    """How a value may be written into a table."""
    return marker, marker.hex().encode(), marker.hex().upper().encode(), base64.b64encode(marker).rstrip(b"=")


def found(fields: Iterable[tuple[int, TextField]], tables: Iterable[bytes]) -> set[int]:
    """The numbers of those fields whose marker is in one of the tables."""
    everything = b"\0".join(tables)
    return {
        number
        for number, field in fields
        if any(spelling in everything for spelling in spellings(field.marker(number)))
    }


def text_fields(request: Descriptor) -> Iterator[TextField]:
    """All text fields of a request; those that metrics of every kind have come with every kind."""
    for path in _walk(request, ()):
        kinds = [field.name for field in path if field.containing_oneof and field.containing_type.name == "Metric"]
        of_metrics = request.name == "ExportMetricsServiceRequest"
        for data in kinds or (DATA if of_metrics else DATA[:1]):
            yield TextField(path, data)


def _walk(message: Descriptor, path: tuple[FieldDescriptor, ...]) -> Iterator[tuple[FieldDescriptor, ...]]:
    for field in message.fields:
        if field.type in _TEXT:
            yield (*path, field)
        elif field.message_type is not None:
            same = sum(step.message_type is field.message_type for step in path)
            if same < _NESTED:
                yield from _walk(field.message_type, (*path, field))


def _chosen(message: Descriptor, ours: FieldDescriptor | None, data: str) -> Iterator[FieldDescriptor]:
    """One field of each group of which only one may be there, and all others."""
    for field in message.fields:
        group = field.containing_oneof
        if group is None or len(group.fields) == 1 or (ours is not None and field.name == ours.name):
            yield field
        elif ours is None or ours.containing_oneof is not group:
            first = data if message.name == "Metric" else group.fields[0].name
            if field.name == first:
                yield field


def _plain(field: FieldDescriptor, number: int) -> Any:
    if field.type in _TEXT:
        return b"\x01" * _ID_BYTES[field.name] if field.name in _ID_BYTES else b"plain"
    if field.name.endswith("time_unix_nano"):
        return NOW_NS
    if field.type == FieldDescriptor.TYPE_ENUM:
        # Spans of clients and servers, which the service map looks at, that failed.
        return {"kind": 2 + number % 2, "code": 2}.get(field.name, 1)
    if field.name == "flags":
        # Of a point, 1 says that it has no value.
        return 0
    return 1 if field.type in INTEGER_BITS else True


def _name(message: Descriptor) -> str:
    outer = message.containing_type
    return f"{_name(outer)}.{message.name}" if outer is not None else str(message.name)
