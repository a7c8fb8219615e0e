"""The audit's readings: log, store, log again, until nothing moved in between or the time is over."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.log import LogInspector, LogSnapshot
from schemas.settings import RetentionSettings
from sluiceway.audit import BASE_TABLES, ROLLUPS, LedgerSum, Report, StoreReading, Verdict, audit

# A batch is under way for a fraction of a second; between two looks for a still moment this much passes.
_PAUSE_S = 0.05

_LEDGER = """
SELECT Topic, Partition, TenantId, TableName, Day, LogId != {{log:String}} AS Elsewhere,
    Elsewhere OR FirstOffset < {next_offset} AS Committed, max(FirstOffset),
    sum(Received), sum(Stored), sum(Rejected), sum(SampledOut), sum(DeadLettered)
FROM ledger GROUP BY Topic, Partition, TenantId, TableName, Day, Elsewhere, Committed"""

_COUNTS = ("received", "stored", "rejected", "sampled_out", "dead_lettered")


def read_until_still(
    log: LogInspector,
    store: Client,
    retention: RetentionSettings,
    *,
    timeout_s: float,
    clock: Callable[[], float] = time.monotonic,
    pause: Callable[[float], None] = time.sleep,
) -> Report:
    """The first report in which nothing moved, or that proves an imbalance, or the last one within `timeout_s`.

    Raises:
        LogUnavailableError: the log cannot be read.
        ClickHouseError, OSError: the store cannot be read.
    """
    deadline = clock() + timeout_s
    while True:
        before = log.snapshot()
        while any(progress.frozen for progress in before.progress.values()) and clock() < deadline:
            pause(_PAUSE_S)
            before = log.snapshot()
        reading = read_store(store, before)
        report = audit(before, reading, log.snapshot(), retention)
        if report.verdict is not Verdict.MOVING or clock() >= deadline:
            return report
        pause(_PAUSE_S)


def read_store(client: Client, before: LogSnapshot) -> StoreReading:
    """What the store holds now; `before` decides which of its ledger rows are committed."""
    ledger, newest = _read_ledger(client, before)
    rows: dict[tuple[str, str, dt.date], int] = {}
    for table, (_, time_column) in BASE_TABLES.items():
        sql = f"SELECT TenantId, toDate({time_column}, 'UTC'), count() FROM {table} GROUP BY 1, 2"
        rows |= {(table, tenant, day): count for tenant, day, count in _rows(client, sql)}
    rollups: dict[tuple[str, str, dt.date], int] = {}
    for rollup, (_, counted) in ROLLUPS.items():
        sql = f"SELECT TenantId, toDate(Time, 'UTC'), sum({counted}) FROM {rollup} GROUP BY 1, 2"
        rollups |= {(rollup, tenant, day): count for tenant, day, count in _rows(client, sql)}
    # Read last: a day that began to expire meanwhile is then left out of the comparison.
    today = _rows(client, "SELECT toDate(now(), 'UTC')")[0][0]
    return StoreReading(ledger, newest, rows, rollups, today)


def _read_ledger(client: Client, before: LogSnapshot) -> tuple[list[LedgerSum], dict[tuple[str, int], int]]:
    parameters: dict[str, Any] = {"log": before.log_id}
    cases = []
    for n, ((topic, partition), progress) in enumerate(before.progress.items()):
        cases += [f"Topic = {{t{n}:String}} AND Partition = {{p{n}:UInt32}}", f"{{n{n}:UInt64}}"]
        parameters |= {f"t{n}": topic, f"p{n}": partition, f"n{n}": progress.next_offset}
    next_offset = f"multiIf({', '.join(cases)}, 0)" if cases else "0"
    sums: list[LedgerSum] = []
    newest: dict[tuple[str, int], int] = {}
    for row in _rows(client, _LEDGER.format(next_offset=next_offset), parameters):
        topic, partition, tenant, table, day, elsewhere, committed, first, *counts = row
        of_counts = dict(zip(_COUNTS, counts, strict=True))
        sums.append(LedgerSum(topic, tenant, table, day, bool(committed), elsewhere=bool(elsewhere), **of_counts))
        if not elsewhere:
            newest[topic, partition] = max(first, newest.get((topic, partition), -1))
    return sums, newest


def _rows(client: Client, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    return [
        tuple(value.date() if isinstance(value, dt.datetime) else value for value in row)
        for row in client.query(sql, parameters=parameters).result_rows
    ]
