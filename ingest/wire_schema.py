"""The OTLP messages as one small table, derived from the installed protobuf descriptors: what the validators walk by.

A row is a message type, a column is a tag byte (field number and wire type, fields 1 to 31), an entry says what to do.
Deriving it means that a field added by a newer opentelemetry-proto is checked without a change here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from schemas.signals import Signal

REQUESTS: Final[dict[Signal, Any]] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}

# An entry is action | group << 4 | kind << 7 | target << 10. `group` numbers what a message may hold once only (a
# submessage that is not repeated, a oneof): protobuf would merge or drop the earlier one, and readers differ in which.
# `target` is the message id of MESSAGE, the byte count of ID, and 1 for the time that stands in for an unset one.
# MESSAGE to PACKED_VARINT are the length-delimited ones, and CONTAINER and ITEM are what can be cut out of a request.
UNKNOWN, MESSAGE, STRING, ID, BYTES, PACKED_FIXED64, PACKED_VARINT, VARINT, FIXED64, FIXED32, TIME, WRONG = range(12)
PLAIN, CONTAINER, ITEM, ANY_VALUE, KEY_VALUE = range(5)

ID_BYTES: Final = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}
ITEM_TIMES: Final = {
    "Span": ("start_time_unix_nano",),
    "LogRecord": ("time_unix_nano", "observed_time_unix_nano"),
    "NumberDataPoint": ("time_unix_nano",),
    "HistogramDataPoint": ("time_unix_nano",),
    "ExponentialHistogramDataPoint": ("time_unix_nano",),
    "SummaryDataPoint": ("time_unix_nano",),
}
# A fault in the text of one of these rejects every item below it. What is between a Metric and its points has no text.
CONTAINERS: Final = frozenset(
    {"ResourceSpans", "ResourceMetrics", "ResourceLogs", "ScopeSpans", "ScopeMetrics", "ScopeLogs", "Metric"}
)

_VARINTS: Final = frozenset(
    {
        FieldDescriptor.TYPE_INT32,
        FieldDescriptor.TYPE_INT64,
        FieldDescriptor.TYPE_UINT32,
        FieldDescriptor.TYPE_UINT64,
        FieldDescriptor.TYPE_SINT32,
        FieldDescriptor.TYPE_SINT64,
        FieldDescriptor.TYPE_BOOL,
        FieldDescriptor.TYPE_ENUM,
    }
)
_FIXED64S: Final = frozenset({FieldDescriptor.TYPE_FIXED64, FieldDescriptor.TYPE_SFIXED64, FieldDescriptor.TYPE_DOUBLE})


@dataclass(frozen=True, slots=True)
class WireSchema:
    """`table` is UInt16 of shape (messages, 256); `messages` are descriptors by id; `roots` the ids of the requests."""

    table: np.ndarray[Any, np.dtype[np.uint16]]
    messages: tuple[Descriptor, ...]
    roots: dict[Signal, int]

    def field_name(self, message: int, tag: int) -> str:
        """`Span.name`, or `Span field 99` for a field that is not known."""
        descriptor = self.messages[message]
        field = descriptor.fields_by_number.get(tag >> 3)
        return f"{descriptor.name}.{field.name}" if field else f"{descriptor.name} field {tag >> 3}"


def _kind(message: Descriptor) -> int:
    if message.name in ITEM_TIMES:
        return ITEM
    if message.name in CONTAINERS:
        return CONTAINER
    return {"AnyValue": ANY_VALUE, "KeyValue": KEY_VALUE}.get(message.name, PLAIN)


def _scalar_actions(field: FieldDescriptor) -> dict[int, tuple[int, int]]:
    """Wire type -> (action, target) of a field that is no message."""
    times = ITEM_TIMES.get(field.full_name.rpartition(".")[0].rpartition(".")[2], ())
    if field.type == FieldDescriptor.TYPE_STRING:
        return {2: (STRING, 0)}
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {2: (ID, ID_BYTES[field.name]) if field.name in ID_BYTES else (BYTES, 0)}
    if field.type in _VARINTS:
        return {0: (VARINT, 0)} | ({2: (PACKED_VARINT, 0)} if field.is_repeated else {})
    if field.type in _FIXED64S:
        action = (TIME, times.index(field.name)) if field.name in times else (FIXED64, 0)
        return {1: action} | ({2: (PACKED_FIXED64, 0)} if field.is_repeated else {})
    if field.type == FieldDescriptor.TYPE_FIXED32 and not field.is_repeated:
        return {5: (FIXED32, 0)}
    raise NotImplementedError(f"{field.full_name}: the wire schema knows no rule for protobuf type {field.type}")


def _once_groups(message: Descriptor) -> dict[str, int]:
    """Field name -> group of what may occur once only, from 1."""
    groups: dict[str, int] = {}
    names: dict[str, int] = {}
    for field in message.fields:
        oneof = field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1:
            key = oneof.name
        elif field.message_type is not None and not field.is_repeated:
            key = field.name
        else:
            continue
        groups[field.name] = names.setdefault(key, len(names) + 1)
    if len(names) > 7:
        raise NotImplementedError(f"{message.full_name}: more than 7 fields that may occur once do not fit an entry")
    return groups


def derive() -> WireSchema:
    """The table of everything that can be reached from the three export requests."""
    messages: list[Descriptor] = []
    ids: dict[str, int] = {}

    def visit(message: Descriptor) -> int:
        if message.full_name not in ids:
            ids[message.full_name] = len(messages)
            messages.append(message)
            for field in message.fields:
                if field.message_type is not None:
                    visit(field.message_type)
        return ids[message.full_name]

    roots = {signal: visit(request.DESCRIPTOR) for signal, request in REQUESTS.items()}
    table = np.zeros((len(messages), 256), np.uint16)
    for row, message in enumerate(messages):
        groups = _once_groups(message)
        for field in message.fields:
            if field.number > 31:
                continue
            table[row, field.number << 3 : (field.number << 3) + 8] = WRONG
            if field.message_type is not None:
                entry = MESSAGE | _kind(field.message_type) << 7 | ids[field.message_type.full_name] << 10
                actions = {2: entry}
            else:
                actions = {wire: action | target << 10 for wire, (action, target) in _scalar_actions(field).items()}
            for wire, entry in actions.items():
                table[row, field.number << 3 | wire] = entry | groups.get(field.name, 0) << 4
    table.setflags(write=False)
    return WireSchema(table, tuple(messages), roots)


SCHEMA: Final = derive()
