"""`python -m bench.questions`: the questions of an incident, asked of a week of telemetry in the embedded store."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench import store
from bench.progress import say
from bench.report import BOUNDS
from bench.week import WEEK_S, Week
from dashboards import queries
from processors import schema
from schemas.settings import RetentionSettings, StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.testbed.parts import free_ports

ROUNDS = 5
TRACES = 20
_PERIOD = "from = {from_s}, to = {to_s}"
# Every question is over the seven days, answered from rollups.
QUESTIONS: Mapping[str, str] = {
    "RED of every service by hour": f"SELECT * FROM service_red_1h({_PERIOD})",
    "operations of a service": """SELECT SpanName, SpanKind, sum(Calls), sum(Errors), sumMap(DurationBuckets),
        argMaxMerge(SlowestTrace) FROM spans_1h WHERE ServiceName = 'service-3' AND Time >= {from_s} AND Time < {to_s}
        GROUP BY SpanName, SpanKind""",
    "service map": f"SELECT * FROM service_map_1h({_PERIOD})",
    "rate by route": f"""SELECT Time, Attributes['http.route'] AS route, sum(Rate)
        FROM counter_1h(service = 'service-3', metric = 'requests', {_PERIOD}, step = 3600) GROUP BY Time, route""",
    "gauge": f"""SELECT Time, max(Highest), avg(Average)
        FROM gauge_1h(service = 'service-3', metric = 'memory', {_PERIOD}, step = 3600) GROUP BY Time""",
    "histogram quantile": f"""SELECT Time, Quantile FROM histogram_quantile_1h(
        service = 'service-3', metric = 'duration', {_PERIOD}, step = 3600, q = 0.99, by = [])""",
    "exponential histogram quantile": f"""SELECT Time, Quantile FROM exponential_histogram_quantile_1h(
        service = 'service-3', metric = 'latency', {_PERIOD}, step = 3600, q = 0.99, by = [])""",
    "log records by service and severity": """SELECT toStartOfHour(Time) AS Hour, ServiceName, SeverityText,
        sum(Records) FROM logs_1m WHERE Time >= {from_s} AND Time < {to_s} GROUP BY Hour, ServiceName, SeverityText""",
    "services": "SELECT * FROM inventory_services",
    "versions": "SELECT * FROM inventory_versions",
    "operations": "SELECT * FROM inventory_operations",
    "metrics": "SELECT * FROM inventory_metrics",
    "deployments": f"SELECT * FROM deployments({_PERIOD})",
}
# Beside them, from base tables and their indexes: no bound.
SEARCHES: Mapping[str, str] = {
    "log search, one word in a million": """SELECT Timestamp, Body FROM otel_logs
        WHERE Timestamp >= toDateTime64({from_s}, 9) AND hasToken(lower(Body), '4711')
        ORDER BY Timestamp DESC LIMIT 100""",
}


def _ask_ms(client: Client, sql: str) -> float:
    started_s = time.perf_counter()
    rows = client.query(sql, settings={"max_threads": 2}).result_rows
    took_ms = (time.perf_counter() - started_s) * 1e3
    if not rows:
        raise RuntimeError(f"must have an answer, has none: {sql}")
    return took_ms


def measure(items: int, folder: Path) -> dict[str, dict[str, float]]:
    """Milliseconds of wall time, medians of five, by kind of question and question.

    Raises:
        RuntimeError: a question has no answer.
    """
    [port] = free_ports(1)
    with EmbeddedStore(folder, StoreSettings(http_port=port)) as embedded:
        client = store.connect(embedded.url, embedded.writer_user, embedded.writer_password)
        schema.apply(client, "otel", RetentionSettings())
        client.database = "otel"
        # Whole hours, and no more than what is kept.
        week = Week(int(time.time()) // 3600 * 3600 - WEEK_S, items)
        week.fill(client)
        say("waiting for merges")
        store.await_merges(client)
        period = {"from_s": week.from_s, "to_s": week.to_s}

        def medians(questions: Mapping[str, str]) -> dict[str, float]:
            return {
                name: statistics.median(_ask_ms(client, sql.format(**period)) for _ in range(ROUNDS))
                for name, sql in questions.items()
            }

        say("asking")
        return {
            "rollups": medians(QUESTIONS),
            "searches": medians(SEARCHES),
            "traces": {trace_id: _trace_ms(client, trace_id) for trace_id in week.trace_ids(client, TRACES)},
        }


def _trace_ms(client: Client, trace_id: str) -> float:
    """As the viewer asks: where in time it lies, then its spans. Each trace is asked for once, so that none is warm."""
    started_s = time.perf_counter()
    [(from_s, last_s)] = client.query(queries.read("trace_window"), parameters={"trace_id": trace_id}).result_rows
    found = client.query(
        queries.read("trace_spans"),
        parameters={"trace_id": trace_id, "from_s": from_s, "to_s": last_s + 1, "limit": 1000},
    ).result_rows
    if len(found) != 12:
        raise RuntimeError(f"a trace must have 12 spans, has {len(found)}")
    return (time.perf_counter() - started_s) * 1e3


def figures(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    """What goes into build/bench.json."""
    return {
        "slowest_rollup_query_ms": max(found["rollups"].values()),
        "trace_by_id_ms": statistics.median(found["traces"].values()),
        "slowest_trace_by_id_ms": max(found["traces"].values()),
        "log_search_ms": max(found["searches"].values()),
    }


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """A line a question with its bound, and at the end which are over it."""
    all_of = figures(found)
    rollups = BOUNDS["slowest_rollup_query_ms"]
    rows = [
        *((name, took_ms, rollups) for name, took_ms in found["rollups"].items()),
        *((name, took_ms, None) for name, took_ms in found["searches"].items()),
        ("trace by id (median)", all_of["trace_by_id_ms"], BOUNDS["trace_by_id_ms"]),
        ("trace by id (slowest)", all_of["slowest_trace_by_id_ms"], None),
    ]
    over = [name for name, took_ms, bound in rows if bound is not None and not bound.met(took_ms)]
    lines = [
        f"{took_ms:8.1f} ms  {'' if bound is None else str(bound):>6}  {name}{' OVER' if name in over else ''}"
        for name, took_ms, bound in rows
    ]
    return "\n".join((*lines, f"over the bound: {', '.join(over) or 'none'}"))


def main() -> int:
    """Command line; exit code 0 whatever the figures are, for they depend on the machine, but not without an answer."""
    parser = argparse.ArgumentParser(prog="python -m bench.questions", description=__doc__)
    parser.add_argument(
        "--items", type=int, default=10_000_000, help="spans, and as many points and log records; default 10,000,000"
    )
    parser.add_argument("--folder", type=Path, help="where the store is made; default a temporary folder")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder) as name:
        found = measure(options.items, Path(name) / "store")
    print(
        f"{options.items:,} spans, points and log records over 7 days; {os.cpu_count()} CPUs; median of {ROUNDS}, of "
        f"{TRACES} traces asked once"
    )
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
