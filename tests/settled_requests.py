"""Random OTLP requests without the few things that the OpenTelemetry ClickHouse exporter and we write differently.

What those are, and that they are all, is told in docs/collector.md; test_collector_rows.py holds it.
"""

from __future__ import annotations

import math
import random
from typing import Any

from schemas.signals import Signal
from tests.otlp_requests import NOW_NS
from tests.strategies import message

# What a point may leave out: both write 0.
_OPTIONAL_TIMES = frozenset({"start_time_unix_nano"})
_LARGEST_TIME_NS = 2**63 - 1


def settled(seed: int, signal: Signal) -> Any:
    """A request full of awkward texts, numbers, ids and nesting, for which both write the same rows."""
    rng = random.Random(seed)
    request = message(rng, signal)
    _settle(request, rng, nested=False)
    return request


def _settle(each: Any, rng: random.Random, *, nested: bool) -> None:
    kind = each.DESCRIPTOR.name
    for field in each.DESCRIPTOR.fields:
        if field.name.endswith("time_unix_nano"):
            time_ns = getattr(each, field.name)
            optional = field.name in _OPTIONAL_TIMES and kind != "Span"
            if time_ns > _LARGEST_TIME_NS or (time_ns == 0 and not optional):
                setattr(each, field.name, NOW_NS + rng.randint(0, 10**12))
    if kind == "Span" and each.end_time_unix_nano < each.start_time_unix_nano:
        each.end_time_unix_nano = each.start_time_unix_nano
    if kind == "Exemplar":
        each.trace_id, each.span_id = rng.randbytes(16), rng.randbytes(8)
    if kind == "AnyValue" and nested:
        if each.HasField("double_value") and not math.isfinite(each.double_value):
            each.double_value = 1.5
        if each.HasField("bytes_value") and not each.bytes_value:
            each.bytes_value = b"\x00"
    if kind == "Resource" and not any(attribute.key == "service.name" for attribute in each.attributes):
        each.attributes.add(key="service.name").value.string_value = rng.choice(("cart", "checkout"))
    if kind == "ScopeMetrics":
        kept = [metric for metric in each.metrics if metric.WhichOneof("data")]
        del each.metrics[:]
        each.metrics.extend(kept)
    for field, value in each.ListFields():
        if field.message_type is not None:
            for below in value if field.is_repeated else [value]:
                _settle(below, rng, nested=nested or kind in ("ArrayValue", "KeyValueList"))
