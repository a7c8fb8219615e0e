"""Compile all that a batch needs before the first one: `python -m processors.warm_up` fills the cache on disk.

It is run in a process of its own, because the compiler holds the interpreter's lock for tens of seconds at a first
start, while the receivers must go on acknowledging.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np
import pyarrow as pa
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from processors import native
from processors.arena import Arena
from processors.decode import decode
from processors.guard.budgets import Budgets, Window
from processors.guard.redact import redact
from processors.guard.rules import RedactionRule
from processors.guard.series import points_of
from schemas.columns import BY_NAME, LC, Column
from schemas.jit import whole_marker
from schemas.log import Record
from schemas.signals import Signal

# One dictionary for each width of index.
_DICTIONARY_SIZES = (10, 300, 70_000)


def _sample(signal: Signal) -> bytes:
    # Code is compiled by type, not by value: one item with an attribute of each signal reaches all of it.
    if signal is Signal.TRACES:
        traces = ExportTraceServiceRequest()
        group = traces.resource_spans.add()
        group.resource.attributes.add(key="service.name").value.string_value = "warm-up"
        span = group.scope_spans.add().spans.add(name="x")
        span.attributes.add(key="a").value.double_value = 1.5
        span.events.add(name="e")
        span.links.add(trace_id=bytes(16))
        return traces.SerializeToString()
    if signal is Signal.LOGS:
        logs = ExportLogsServiceRequest()
        record = logs.resource_logs.add().scope_logs.add().log_records.add()
        record.body.kvlist_value.values.add(key="a").value.int_value = 1
        return logs.SerializeToString()
    metrics = ExportMetricsServiceRequest()
    scope = metrics.resource_metrics.add().scope_metrics.add()
    scope.metrics.add(name="g").gauge.data_points.add(as_int=1).exemplars.add(as_int=1)
    scope.metrics.add(name="s").sum.data_points.add(as_double=1)
    scope.metrics.add(name="h").histogram.data_points.add(bucket_counts=[1], explicit_bounds=[1.0][:0])
    scope.metrics.add(name="e").exponential_histogram.data_points.add(scale=1).positive.bucket_counts.append(1)
    scope.metrics.add(name="q").summary.data_points.add().quantile_values.add(quantile=0.5)
    return metrics.SerializeToString()


def _guards(arena: Arena) -> None:
    # What a batch meets only where a rule or a budget is about it.
    rules = [RedactionRule(name="warm-up", action="hash", pattern="x", where=("body",))]
    logs = ExportLogsServiceRequest()
    logs.resource_logs.add().scope_logs.add().log_records.add().body.string_value = "x"
    record = Record("warm-up", 0, 0, logs.SerializeToString(), "", time.time_ns(), 1)
    redact(decode(Signal.LOGS, [record], arena), rules, bytes(16))
    record = Record("warm-up", 0, 0, _sample(Signal.METRICS), "", time.time_ns(), 1)
    for rows in decode(Signal.METRICS, [record], arena).tables.values():
        Window().decide({"": points_of(rows)}, Budgets(1, 1, 1))


def stages() -> Iterator[str]:
    """Compile, or load what is cached, stage by stage; yields what was just done."""
    arena = Arena()
    for signal in Signal:
        record = Record("warm-up", 0, 0, _sample(signal), "", time.time_ns(), 1)
        for name, batch in decode(signal, [record], arena).tables.items():
            native.encode(batch, BY_NAME[name].columns, arena)
        yield f"decoder of {signal}"
    for size in _DICTIONARY_SIZES:
        arena.reset()
        values = pa.array([str(value) for value in range(size)])
        codes = pa.array(np.arange(size, dtype=np.uint32))
        maps = pa.MapArray.from_arrays(
            pa.array([0, size], pa.int32()), *(pa.DictionaryArray.from_arrays(codes, values) for _ in range(2))
        )
        shared = pa.DictionaryArray.from_arrays(pa.array([0], pa.int32()), maps)
        flat = pa.DictionaryArray.from_arrays(codes, values)
        native.encode(pa.RecordBatch.from_arrays([flat], ["c"]), [Column("c", LC)], arena)
        native.encode(pa.RecordBatch.from_arrays([shared], ["m"]), [Column("m", f"Map({LC}, {LC})")], arena)
    yield "encoder"
    _guards(arena)
    yield "guards"


def main() -> None:
    """Say each stage on a line of its own."""
    for stage in stages():
        print(stage, flush=True)
    # On a full disk the next start asks the compiler again, and finds what it kept.
    with suppress(OSError):
        whole_marker().touch()


if __name__ == "__main__":
    main()
