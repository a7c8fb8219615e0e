"""Random OTLP requests made from the protobuf descriptors, what is wrong with them by plain object walks, mutations.

Randomness comes from a `random.Random`, whose seed a test can draw.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from ingest.wire_schema import REQUESTS
from schemas.signals import Signal

NOW_NS = 1_760_000_000_000_000_000
WINDOW = {"now_ns": NOW_NS, "oldest_ns": NOW_NS - 10**12, "newest_ns": NOW_NS + 10**12}
BAD_TEXT = "bad!text"  # Replaced by the same number of bytes that are no UTF-8, after encoding.
BAD_TEXT_BYTES = b"bad\xff\xfetex"
TEXTS = ("", "a", "cart", "GET /api/products", "größe", "日本語のログ", "🛒 basket", "x" * 200)
DATA = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
INTEGER_BITS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_SINT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.TYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_FIXED32: (0, 2**32 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_SFIXED64: (-(2**63), 2**63 - 1),
    FieldDescriptor.TYPE_UINT64: (0, 2**64 - 1),
    FieldDescriptor.TYPE_FIXED64: (0, 2**64 - 1),
}


class Maker:
    """Fills messages field by field. `faults` is the chance that an id, a time or a text is wrong."""

    def __init__(self, rng: random.Random, faults: float = 0.0, repeats: int = 3) -> None:
        self.rng = rng
        self.faults = faults
        self.repeats = repeats

    def faulty(self) -> bool:
        return self.faults > 0 and self.rng.random() < self.faults

    def fill(self, message: Any, nesting: int = 0) -> None:
        chosen: dict[str, str] = {}
        for field in message.DESCRIPTOR.fields:
            oneof = field.containing_oneof
            if oneof is not None:
                pick = chosen.setdefault(oneof.name, self.rng.choice([member.name for member in oneof.fields]))
                if pick != field.name:
                    continue
            if field.name in ("array_value", "kvlist_value") and nesting > 3:
                continue
            deeper = nesting + (message.DESCRIPTOR.name == "AnyValue")
            if field.is_repeated:
                for _ in range(self.rng.choice([0, 1, 1, self.repeats])):
                    if field.message_type is not None:
                        self.fill(getattr(message, field.name).add(), deeper)
                    else:
                        getattr(message, field.name).append(self.scalar(field))
            elif self.rng.random() < 0.2:
                continue
            elif field.message_type is not None:
                getattr(message, field.name).SetInParent()
                self.fill(getattr(message, field.name), deeper)
            else:
                setattr(message, field.name, self.scalar(field))

    def scalar(self, field: FieldDescriptor) -> Any:
        rng = self.rng
        if field.type == FieldDescriptor.TYPE_STRING:
            return BAD_TEXT if self.faulty() else rng.choice(TEXTS)
        if field.type == FieldDescriptor.TYPE_BYTES:
            if field.name in ("trace_id", "span_id", "parent_span_id"):
                size = 16 if field.name == "trace_id" else 8
                return rng.randbytes(rng.choice([1, 7, 15, 17, 32]) if self.faulty() else rng.choice([0, size, size]))
            return rng.choice(TEXTS).encode() if rng.random() < 0.5 else rng.randbytes(rng.randint(0, 20))
        if field.type == FieldDescriptor.TYPE_BOOL:
            return rng.random() < 0.5
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return rng.choice([0.0, -0.0, 1.5, -2.25e-300, 1.7e308, float("inf"), float("-inf"), rng.random()])
        if field.type == FieldDescriptor.TYPE_ENUM:
            return rng.choice([0, 1, 2, 5, 24, 77])
        if field.name.endswith("time_unix_nano"):
            if self.faulty():
                return rng.choice([1, NOW_NS - 10**12 - 1, NOW_NS + 10**12 + 1, 2**64 - 1])
            return rng.choice([0, NOW_NS - 10**12, NOW_NS + 10**12, NOW_NS + rng.randint(-(10**12), 10**12)])
        low, high = INTEGER_BITS[field.type]
        return rng.choice([low, high, 0, 1, min(high, 127), min(high, 128), rng.randint(low, high)])


def request(rng: random.Random, signal: Signal, *, faults: float = 0.0, repeats: int = 3) -> Any:
    """A request with about `repeats` children a level; with `faults`, some ids, times and texts are wrong."""
    message = REQUESTS[signal]()
    maker = Maker(rng, faults, repeats)
    while not message.ListFields():
        maker.fill(message)
    return message


def encode(message: Any) -> bytes:
    """Protobuf bytes, with the texts that shall be wrong made wrong."""
    body: bytes = message.SerializeToString()
    return body.replace(BAD_TEXT.encode(), BAD_TEXT_BYTES)


CHILD = {
    "ExportTraceServiceRequest": "resource_spans",
    "ExportMetricsServiceRequest": "resource_metrics",
    "ExportLogsServiceRequest": "resource_logs",
    "ResourceSpans": "scope_spans",
    "ResourceMetrics": "scope_metrics",
    "ResourceLogs": "scope_logs",
    "ScopeSpans": "spans",
    "ScopeMetrics": "metrics",
    "ScopeLogs": "log_records",
}


def children(message: Any) -> Any:
    """The repeated field of what is below a request, resource, scope or metric; () for a metric without data."""
    if message.DESCRIPTOR.name == "Metric":
        kind = message.WhichOneof("data")
        return getattr(message, kind).data_points if kind else ()
    return getattr(message, CHILD[message.DESCRIPTOR.name])


def is_item(message: Any) -> bool:
    return message.DESCRIPTOR.name in ("Span", "LogRecord") or message.DESCRIPTOR.name.endswith("DataPoint")


def items(message: Any) -> Iterator[Any]:
    """All spans, data points or log records below a message, in order."""
    if is_item(message):
        yield message
        return
    for child in children(message):
        yield from items(child)


def _own_fault(message: Any) -> bool:
    """Whether ids or texts of this message are wrong; what is below a container is left out."""
    below = DATA if message.DESCRIPTOR.name == "Metric" else (CHILD.get(message.DESCRIPTOR.name),)
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        if field.name in below:
            continue
        if field.message_type is not None:
            if any(_own_fault(inner) for inner in values):
                return True
        elif field.name in ("trace_id", "span_id", "parent_span_id"):
            if len(value) not in (0, 16 if field.name == "trace_id" else 8):
                return True
        elif BAD_TEXT in values:
            return True
    return False


def _time(item: Any) -> int:
    if item.DESCRIPTOR.name == "Span":
        return int(item.start_time_unix_nano)
    if item.DESCRIPTOR.name == "LogRecord":
        return int(item.time_unix_nano or item.observed_time_unix_nano)
    return int(item.time_unix_nano)


def prune(message: Any) -> bool:
    """Remove what must be rejected, on objects; True when the message itself must go."""
    if _own_fault(message):
        return True
    if is_item(message):
        return bool(_time(message)) and not WINDOW["oldest_ns"] <= _time(message) <= WINDOW["newest_ns"]
    below = children(message)
    if not below:
        return False
    kept = [child for child in below if not prune(child)]
    lost = len(kept) < len(below)
    copies = [type(child).FromString(child.SerializeToString()) for child in kept]
    del below[:]
    below.extend(copies)
    return lost and not kept


def mutate(rng: random.Random, body: bytes) -> bytes:
    """One to four random edits: flipped, cut, doubled, inserted and overwritten bytes."""
    edited = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 4))):
        size = len(edited)
        at = rng.randrange(size + 1)
        to = min(size, at + rng.choice((1, 1, 2, 8, 40)))
        match rng.randrange(7):
            case 0 if at < size:
                edited[at] ^= 1 << rng.randrange(8)
            case 1 if at < size:
                edited[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF, 0x0A, 0x12, 0x0B, 0x0C, 0x09, 0x0D))
            case 2:
                del edited[at:to]
            case 3:
                edited[at:at] = edited[at:to]
            case 4:
                edited[at:at] = rng.randbytes(to - at)
            case 5:
                del edited[at:]
            case _:
                edited[at:to] = rng.randbytes(to - at)
    return bytes(edited)
