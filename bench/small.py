"""Small requests: eight spans each, where the cost of a request outweighs the cost of its spans."""

from __future__ import annotations

import time
from pathlib import Path

from bench import receive, spans

SPANS_A_SMALL_REQUEST = 8


def measure(folder: Path, requests: int) -> receive.Received:
    """CPU of the receiving process for `requests` requests of eight spans."""
    dataset = spans.make(
        folder / "small",
        requests,
        seed=8,
        first_start_ns=time.time_ns() - spans.SPREAD_NS,
        spans=SPANS_A_SMALL_REQUEST,
    )
    return receive.measure(dataset)
