"""Where a batch's rows of one table are cut into blocks, so that each fits into the store's memory with its views."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

# At 700 MiB, the embedded store's memory, every row a series of its own, measured: docs/decisions/0014. A record of
# 4 MiB can hold two million empty spans; a batch can be all buckets. Both take part in tokens, so a change of them
# repeats blocks of a batch that was under way.
_MOST_ROWS: Mapping[str, int] = {
    "otel_metrics_gauge": 100_000,
    "otel_metrics_sum": 100_000,
    "otel_metrics_summary": 50_000,
    "otel_metrics_histogram": 50_000,
    "otel_metrics_exponential_histogram": 50_000,
}
# Of spans and log records: what they make up to it is one block.
ONE_BLOCK_ROWS = 250_000
_MOST_BUCKETS = 4_000_000
_BUCKETS = ("BucketCounts", "PositiveBucketCounts", "NegativeBucketCounts", "ValueAtQuantiles.Value")


def block_ranges(table: str, rows: pa.RecordBatch) -> list[tuple[int, int]]:
    """(first row, end) of each block, in order; the same for the same rows. A row is never cut, however large."""
    most_rows = _MOST_ROWS.get(table, ONE_BLOCK_ROWS)
    buckets = np.zeros(rows.num_rows, np.int64)
    for name in _BUCKETS:
        if name in rows.schema.names:
            buckets += pc.list_value_length(rows.column(name)).to_numpy(zero_copy_only=False).astype(np.int64)
    until = np.cumsum(buckets)
    starts = [0]
    while starts[-1] < rows.num_rows:
        first = starts[-1]
        before = int(until[first - 1]) if first else 0
        full = int(np.searchsorted(until, before + _MOST_BUCKETS, side="right"))
        starts.append(min(max(full, first + 1), first + most_rows, rows.num_rows))
    return list(pairwise(starts))
