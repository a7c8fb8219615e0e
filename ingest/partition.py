"""One request becomes one a partition, so that all spans, and all log records, of a trace are on one partition.

A partition follows from the trace id as for records that an OpenTelemetry Collector writes with
`partition_traces_by_id` and `partition_logs_by_trace_id`: both may write to one topic. Items without a trace id, and
resources and scopes without items, go with the request's first trace. No Python object is made for an item: the work
is in `ingest.partition_kernel`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from ingest.precompile import compile_in_child, is_cached
from schemas.log import Entry
from schemas.signals import Signal, topic

# The tag (field number << 3 | 2) of `trace_id` in a Span and in a LogRecord. Data points have none of their own.
TRACE_TAGS: Final = {topic(Signal.TRACES): 0x0A, topic(Signal.LOGS): 0x4A}
_COMPILED_FROM: Final = (
    *(f"ingest/{name}.py" for name in ("partition_kernel", "wire_fields", "wire_primitives")),
    "schemas/wire.py",
)
_SPARE_ROWS: Final = 64
_warming = threading.Lock()


def warm_up() -> None:
    """Load the compiled code; blocks for about half a second, several when it must be compiled first.

    Compiling happens in a child process, because it would hold the lock of the interpreter that acks need. Safe to call
    again, and from any thread.
    """
    with _warming:
        if not is_cached("partition_kernel.write-*.nbi", _COMPILED_FROM):
            compile_in_child("ingest.partition_kernel")
        import ingest.partition_kernel  # noqa: F401, PLC0415  importing it is what compiles it


def by_trace(entries: Sequence[Entry], partitions: Callable[[str], int]) -> list[Entry]:
    """`entries` with those of spans and log records split by trace id, each part for one partition.

    No part is larger than its whole. Parts keep the order of their items; `rejected` is counted with the first. An
    entry without any trace id stays whole, for any partition.

    Args:
        entries: their values MUST have passed validation.
        partitions: how many partitions a topic has, at least 1.
    """
    split: list[Entry] = []
    for entry in entries:
        tag = TRACE_TAGS.get(entry.topic)
        count = 1 if tag is None or entry.partition is not None else partitions(entry.topic)
        split += [entry] if tag is None or count == 1 else _parts(entry, tag, count)
    return split


def _parts(entry: Entry, trace_tag: int, partitions: int) -> list[Entry]:
    from ingest import partition_kernel as kernel  # noqa: PLC0415  see `warm_up`

    body = np.frombuffer(entry.value, np.uint8)
    found = np.empty(4, np.int64)
    rows, containers, stretches = _space(entry.items + _SPARE_ROWS, _SPARE_ROWS, _SPARE_ROWS)
    kernel.find(body, trace_tag, partitions, rows, containers, stretches, found)
    if found[0] > len(rows) or found[1] > len(containers) or found[2] > len(stretches):
        rows, containers, stretches = _space(*(int(count) for count in found[:3]))
        kernel.find(body, trace_tag, partitions, rows, containers, stretches, found)
    count, first = int(found[0]), int(found[3])
    if first < 0:
        return [entry]
    begins = np.zeros(partitions + 1, np.int64)
    order = np.empty(count, np.int64)
    kernel.sort(rows, count, first, begins, order)
    if begins[first + 1] - begins[first] == count:
        return [replace(entry, partition=first)]
    parts = np.empty((partitions, 2), np.int64)
    kernel.measure(rows, order, begins, containers, parts)
    out = np.empty(int(parts[:, 0].sum()), np.uint8)
    kernel.write(body, rows, order, begins, containers, stretches, out)
    made: list[Entry] = []
    rejected, begin = entry.rejected, 0
    for partition, (size, items) in enumerate(parts.tolist()):
        if begins[partition] == begins[partition + 1]:
            continue
        value = out[begin : begin + size].tobytes()
        made.append(replace(entry, value=value, items=items, rejected=rejected, partition=partition))
        rejected, begin = 0, begin + size
    return made


def _space(rows: int, containers: int, stretches: int) -> tuple[Any, Any, Any]:
    # The shapes of partition_kernel's rows, containers and stretches.
    return np.empty((rows, 6), np.int64), np.empty((containers, 3), np.int64), np.empty((stretches, 2), np.int64)
