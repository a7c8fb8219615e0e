"""Small requests: eight spans each, where the cost of a request outweighs the cost of its spans."""

from __future__ import annotations

import time
from pathlib import Path

from bench import receive, spans

SPANS_A_SMALL_REQUEST = 8


def measure(folder: Path, requests: int) -> receive.Received:
    """CPU of the receiving process for `requests` requests of eight spans."""
    first_start_ns = time.time_ns() - spans.SPREAD_NS
    dataset = spans.make(folder, requests, seed=8, first_start_ns=first_start_ns, spans=SPANS_A_SMALL_REQUEST)
    return receive.measure(dataset)
