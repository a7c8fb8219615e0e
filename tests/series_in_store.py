"""Series of points in a database of a test's own, and what views of windows say of them."""

from __future__ import annotations

from typing import Any

from tests.rows_in_store import Database

# 2026-01-15 10:00 UTC.
START_S = 1_768_471_200
LENGTH_S = 7200
CUMULATIVE, DELTA = 2, 1
# The largest value is that of trace "a…".
EXEMPLARS = {
    "Exemplars.TraceId": ["a" * 32, "b" * 32],
    "Exemplars.SpanId": ["", ""],
    "Exemplars.Value": [3.0, 2.0],
    "Exemplars.TimeUnix": [0, 0],
    "Exemplars.FilteredAttributes": [{}, {}],
}


def ask_windows(tables: Database, view: str, metric: str, step_s: int, more: str = "") -> list[dict[str, Any]]:
    """Windows of a metric of service `cart`, in order; `more` are parameters of a view of quantiles."""
    # JSON has no infinity and no NaN.
    columns = "*, toUnixTimestamp(Time) AS At" + (", toString(Quantile) AS Text" if more else "")
    return tables.ask(
        f"SELECT {columns} FROM {{db}}.{view}(service = 'cart', metric = '{metric}',"
        f" from = {{f:UInt32}}, to = {{t:UInt32}}, step = {{s:UInt32}}{more}) ORDER BY Time",
        f=START_S, t=START_S + LENGTH_S, s=step_s,
    )  # fmt: skip
