"""The audit's readings: log, store, log again, until nothing moved in between or the time is over."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from clickhouse_connect.driver.client import Client

from schemas.log import LogInspector, LogSnapshot
from schemas.settings import RetentionSettings
from sluiceway.audit import BASE_TABLES, ROLLUPS, LedgerSum, Offsets, Report, StoreReading, Verdict, audit

# A batch is under way for a fraction of a second; between two looks for a still moment this much passes.
_PAUSE_S = 0.05
# A pipeline that is alive writes its own telemetry every ten seconds (`telemetry.interval_s`): a log whose ledger stood
# still for longer than that has nothing under way, unless its pipeline ended in the middle of a batch.
_QUIET_S = 15.0

_LEDGER = """
SELECT Topic, Partition, TenantId, TableName, Day, LogId != {log_id} AS Elsewhere,
    Elsewhere OR FirstOffset < {next_offset} AS Committed, FirstOffset >= {counted_from} AS Counted, max(FirstOffset),
    sum(Received), sum(Stored), sum(Rejected), sum(SampledOut), sum(DeadLettered), sum(Redacted), sum(Folded)
FROM ledger GROUP BY Topic, Partition, TenantId, TableName, Day, Elsewhere, Committed, Counted"""
# A batch has several rows; a batch that was written twice under two ranges would cover its offsets twice.
_OFFSETS = """
SELECT Topic, Partition, min(FirstOffset), max(LastOffset), sum(LastOffset - FirstOffset + 1)
FROM (SELECT DISTINCT Topic, Partition, FirstOffset, LastOffset FROM ledger WHERE LogId = {log_id})
GROUP BY Topic, Partition"""
_FIRST_BATCH = """
SELECT Topic, Partition, min(FirstOffset) FROM ledger WHERE LogId = {log_id} AND FirstOffset >= {start}
GROUP BY Topic, Partition"""
_BROUGHT = """
SELECT countIf(Version < {version:UInt32}), toDate(minIf(AppliedAt, Version >= {version:UInt32}), 'UTC')
FROM schema_versions"""
_LOG_ID = "transform(Topic, {topics:Array(String)}, {log_ids:Array(String)}, '')"

_COUNTS = ("received", "stored", "rejected", "sampled_out", "dead_lettered", "redacted", "folded")


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

    Where other logs fill the same store, items too many prove one only once those logs were quiet for some seconds.

    Raises:
        LogUnavailableError: the log cannot be read.
        ClickHouseError, OSError: the store cannot be read.
    """
    deadline = clock() + timeout_s
    others = _OtherLogs(clock)
    while True:
        since = _whole_batches(log, store)
        before = log.snapshot(since)
        while any(progress.frozen for progress in before.progress.values()) and clock() < deadline:
            pause(_PAUSE_S)
            before = log.snapshot(since)
        reading = read_store(store, before)
        reading = replace(reading, others_quiet=others.quiet_s(reading.ledger) >= _QUIET_S)
        report = audit(before, reading, log.snapshot(since), retention)
        if report.verdict is not Verdict.MOVING or clock() >= deadline:
            return report
        pause(_PAUSE_S)


class _OtherLogs:
    """How long the ledger of the other logs that fill this store has stood still, by `clock`."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._ledger: set[LedgerSum] = set()
        self._since_s = clock()

    def quiet_s(self, ledger: Iterable[LedgerSum]) -> float:
        """Seconds since the first look that found these rows of theirs, as every look after it did."""
        theirs = {row for row in ledger if row.elsewhere}
        if theirs != self._ledger:
            self._ledger, self._since_s = theirs, self._clock()
        return self._clock() - self._since_s


def read_store(client: Client, before: LogSnapshot) -> StoreReading:
    """What the store holds now; `before` decides which of its ledger rows are committed."""
    ledger, newest = _read_ledger(client, before)
    rows: dict[tuple[str, str, dt.date], int] = {}
    for table, (_, time_column) in BASE_TABLES.items():
        sql = f"SELECT TenantId, toDate({time_column}, 'UTC'), count() FROM {table} GROUP BY 1, 2"
        rows |= {(table, tenant, day): count for tenant, day, count in _rows(client, sql)}
    rollups: dict[tuple[str, str, dt.date], int] = {}
    for rollup in ROLLUPS:
        kind = f"WHERE Kind = '{rollup.kind}'" if rollup.kind else ""
        sql = f"SELECT TenantId, toDate(Time, 'UTC'), sum({rollup.counted}) FROM {rollup.table} {kind} GROUP BY 1, 2"
        rollups |= {(rollup.name, tenant, day): count for tenant, day, count in _rows(client, sql)}
    # Read last: a day that began to expire meanwhile is then left out of the comparison.
    today = _rows(client, "SELECT toDate(now(), 'UTC')")[0][0]
    return StoreReading(ledger, newest, rows, rollups, today, _read_offsets(client, before), _whole_since(client))


def _whole_since(client: Client) -> dict[str, dt.date]:
    """A rollup that came to a store with rows counts what was stored since: whole days from the next one on."""
    found: dict[str, dt.date] = {}
    for rollup in ROLLUPS:
        version = {"version": rollup.since_version}
        [(before, day)] = _rows(client, _BROUGHT, version)
        if before:
            found[rollup.name] = day + dt.timedelta(days=1)
    return found


def _whole_batches(log: LogInspector, client: Client) -> dict[tuple[str, int], int]:
    """Where counting begins in a log that lost its first records to retention: at a batch, as the ledger does."""
    starts = log.starts()
    if not starts:
        return {}
    start, parameters = _by_partition("s", starts)
    log_id, more = _log_id(log.snapshot(starts))
    sql = _FIRST_BATCH.format(log_id=log_id, start=start)
    batches = {(topic, partition): first for topic, partition, first in _rows(client, sql, parameters | more)}
    # Nothing of it is stored yet: all that is kept counts.
    return {key: batches.get(key, start) for key, start in starts.items()}


def _log_id(snapshot: LogSnapshot) -> tuple[str, dict[str, Any]]:
    topics = list(snapshot.log_ids)
    return _LOG_ID, {"topics": topics, "log_ids": [snapshot.log_ids[topic] for topic in topics]}


def _by_partition(prefix: str, offsets: Mapping[tuple[str, int], int]) -> tuple[str, dict[str, Any]]:
    """An expression over Topic and Partition, 0 for those that `offsets` does not name, and its parameters."""
    parameters: dict[str, Any] = {}
    cases = []
    for n, ((topic, partition), offset) in enumerate(offsets.items()):
        cases += [
            f"Topic = {{{prefix}t{n}:String}} AND Partition = {{{prefix}p{n}:UInt32}}",
            f"{{{prefix}o{n}:UInt64}}",
        ]
        parameters |= {f"{prefix}t{n}": topic, f"{prefix}p{n}": partition, f"{prefix}o{n}": offset}
    return (f"multiIf({', '.join(cases)}, 0)" if cases else "0"), parameters


def _read_offsets(client: Client, before: LogSnapshot) -> dict[tuple[str, int], Offsets]:
    log_id, parameters = _log_id(before)
    rows = _rows(client, _OFFSETS.format(log_id=log_id), parameters)
    return {(topic, partition): Offsets(first, last, covered) for topic, partition, first, last, covered in rows}


def _read_ledger(client: Client, before: LogSnapshot) -> tuple[list[LedgerSum], dict[tuple[str, int], int]]:
    log_id, parameters = _log_id(before)
    next_offset, of_progress = _by_partition("n", {key: each.next_offset for key, each in before.progress.items()})
    counted_from, of_counts = _by_partition("c", before.counted_from)
    sql = _LEDGER.format(log_id=log_id, next_offset=next_offset, counted_from=counted_from)
    sums: list[LedgerSum] = []
    newest: dict[tuple[str, int], int] = {}
    for row in _rows(client, sql, parameters | of_progress | of_counts):
        topic, partition, tenant, table, day, elsewhere, committed, counted, first, *counts = row
        named = dict(zip(_COUNTS, counts, strict=True))
        sums.append(
            LedgerSum(
                topic, tenant, table, day, bool(committed), elsewhere=bool(elsewhere), counted=bool(counted), **named
            )
        )
        if not elsewhere:
            newest[topic, partition] = max(first, newest.get((topic, partition), -1))
    return sums, newest


def _rows(client: Client, sql: str, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
    return [
        tuple(value.date() if isinstance(value, dt.datetime) else value for value in row)
        for row in client.query(sql, parameters=parameters).result_rows
    ]
