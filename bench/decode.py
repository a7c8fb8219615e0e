"""`python -m bench.decode FILE`: wire bytes to columns and to the bytes of an insert, beside the walk over upb objects.

One thread, a process of its own, CPU seconds. The three take turns, so that a noisy moment meets all of them.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue

from bench.spans import read
from processors import native
from processors.arena import Arena
from processors.decode import decode
from schemas.columns import BY_NAME
from schemas.log import Record
from schemas.signals import Signal, topic

ROUNDS = 7
# What a batch holds under load: settings batch.max_rows over 512 spans a request.
RECORDS_A_BATCH = 196
# The walk is some ten times slower: a part of the batch is enough.
RECORDS_A_WALK = 24


def walk(records: Sequence[Record]) -> int:
    """The usual way in Python: parse with upb, then a tuple and dicts for each span; returns the spans."""
    rows: list[tuple[Any, ...]] = []
    for record in records:
        message = ExportTraceServiceRequest.FromString(record.value)
        for group in message.resource_spans:
            resource = {pair.key: _value(pair.value) for pair in group.resource.attributes}
            for scope in group.scope_spans:
                name, version = scope.scope.name, scope.scope.version
                for span in scope.spans:
                    attributes = {pair.key: _value(pair.value) for pair in span.attributes}
                    events = [
                        (event.time_unix_nano, event.name, {pair.key: _value(pair.value) for pair in event.attributes})
                        for event in span.events
                    ]
                    rows.append(
                        (span.start_time_unix_nano, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                         span.trace_state, span.name, span.kind, resource, name, version, attributes,
                         span.end_time_unix_nano - span.start_time_unix_nano, span.status.code, span.status.message,
                         events)
                    )  # fmt: skip
    return len(rows)


def _value(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    return value.string_value if kind == "string_value" else str(getattr(value, kind)) if kind else ""


def _spans_per_s(work: Callable[[], int]) -> float:
    started_s = time.thread_time()
    spans = work()
    return spans / (time.thread_time() - started_s)


def measure(path: Path) -> dict[str, float]:
    """Medians over the rounds; spans per CPU second."""
    now_ns = time.time_ns()
    records = [
        Record(topic(Signal.TRACES), 0, offset, body, "", now_ns, None)
        for offset, body in zip(range(RECORDS_A_BATCH), read(path), strict=False)
    ]
    columns = BY_NAME["otel_traces"].columns
    arena = Arena()

    def to_columns() -> int:
        return int(decode(Signal.TRACES, records, arena).tables["otel_traces"].num_rows)

    def to_bytes() -> int:
        rows = decode(Signal.TRACES, records, arena).tables["otel_traces"]
        native.encode(rows, columns, arena)
        return int(rows.num_rows)

    for warm_up in (to_columns, to_bytes, to_bytes):
        warm_up()
    figures: dict[str, list[float]] = {"decode": [], "insert_bytes": [], "walk": [], "ratio": []}
    # The walk makes millions of objects; the collector would look through them again and again.
    gc.disable()
    for _ in range(ROUNDS):
        figures["decode"].append(_spans_per_s(to_columns))
        figures["walk"].append(_spans_per_s(lambda: walk(records[:RECORDS_A_WALK])))
        figures["insert_bytes"].append(_spans_per_s(to_bytes))
        figures["ratio"].append(figures["decode"][-1] / figures["walk"][-1])
    median = {name: statistics.median(values) for name, values in figures.items()}
    return {
        "decode_spans_per_s": median["decode"],
        "insert_bytes_spans_per_s": median["insert_bytes"],
        "upb_walk_spans_per_s": median["walk"],
        "decode_over_upb_walk": median["ratio"],
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1]))))
