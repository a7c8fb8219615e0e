"""What emits telemetry, since when and until when, and which deployments there were: kept from the stream."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.rows_in_store import Database
from tests.viewer_under_test import insert, log_record, span

# 2026-01-15 10:00 UTC.
START_S = 1_768_471_200
MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


def insert_spans(tables: Database, rows: list[dict[str, Any]]) -> None:
    insert(tables.client, "otel_traces", rows, tables.name)


def point(at_s: float, service: str, metric: str, **columns: Any) -> dict[str, Any]:
    return {
        "TimeUnix": f"{at_s:.9f}",
        "ServiceName": service,
        "MetricName": metric,
        "ServiceVersion": "1.0",
        "Environment": "production",
        **columns,
    }


def ask(tables: Database, sql: str) -> list[dict[str, Any]]:
    """Rows of a view with its times as Unix seconds."""
    rows = tables.ask(f"SELECT *, toUnixTimestamp(FirstSeen) AS First, toUnixTimestamp(LastSeen) AS Last FROM {sql}")
    for row in rows:
        del row["FirstSeen"], row["LastSeen"]
    return rows


def test_a_service_is_known_by_any_signal_with_its_versions_and_environments(tables: Database) -> None:
    insert_spans(tables, [
        span(START_S + 125, "cart", version="1.1"),
        span(START_S, "cart", version="1.0"),
        span(START_S + DAY_S, "cart", version="1.1", Environment="staging"),
        span(START_S, "cart", version="9", TenantId="other"),
    ])  # fmt: skip
    insert(tables.client, "otel_logs", [log_record(START_S + 60, "cron", "done", trace_id="", span_id="")], tables.name)
    insert(tables.client, "otel_metrics_gauge", [point(START_S + 7, "host", "cpu")] * 3, tables.name)

    found = {(row.pop("TenantId"), row.pop("ServiceName")): row for row in ask(tables, "{db}.inventory_services")}

    none = {"Versions": [], "Environments": [], "Spans": 0, "LogRecords": 0, "DataPoints": 0}
    known = {"Versions": ["1.0"], "Environments": ["production"]}
    assert found == {
        ("", "cart"): none | {
            "First": START_S, "Last": START_S + DAY_S, "Spans": 3, "Versions": ["1.0", "1.1"],
            "Environments": ["production", "staging"],
        },
        ("other", "cart"): none | known | {"First": START_S, "Last": START_S, "Spans": 1, "Versions": ["9"]},
        ("", "cron"): none | {"First": START_S + 60, "Last": START_S + 60, "LogRecords": 1},
        ("", "host"): none | known | {"First": START_S + 7, "Last": START_S + 7, "DataPoints": 3},
    }  # fmt: skip


def test_operations_are_seen_to_the_minute_in_whatever_order_their_spans_come(tables: Database) -> None:
    times = [START_S + minute * MINUTE_S for minute in (0, 59, 61, 600)]
    for at_s in random.Random(1).sample(times, len(times)):
        insert_spans(tables, [span(at_s + 30, "cart", name="GET /cart", failed=at_s == times[1])])
    insert_spans(tables, [span(START_S, "cart", name="GET /cart", kind="Client")])

    found = {row["SpanKind"]: row for row in ask(tables, "{db}.inventory_operations")}

    server = found["Server"]
    assert (server["First"], server["Last"], server["Calls"], server["Errors"]) == (times[0], times[-1], 4, 1)
    assert (found["Client"]["First"], found["Client"]["Last"], found["Client"]["Calls"]) == (START_S, START_S, 1)


def test_versions_are_listed_for_each_environment(tables: Database) -> None:
    insert_spans(tables, [
        span(START_S, "cart", version="1"), span(START_S + HOUR_S, "cart", version="1"),
        span(START_S + HOUR_S, "cart", version="2", Environment="staging"),
    ])  # fmt: skip
    insert(tables.client, "otel_metrics_sum", [point(START_S, "cart", "hits", ServiceVersion="3")], tables.name)
    found = {
        (row["Environment"], row["ServiceVersion"]): (row["First"], row["Last"], row["Spans"], row["DataPoints"])
        for row in ask(tables, "{db}.inventory_versions")
    }
    assert found == {
        ("production", "1"): (START_S, START_S + HOUR_S, 2, 0),
        ("staging", "2"): (START_S + HOUR_S, START_S + HOUR_S, 1, 0),
        ("production", "3"): (START_S, START_S, 0, 1),
    }


def test_metrics_are_known_with_kind_unit_temporality_and_how_many_series(tables: Database) -> None:
    kinds = {
        "otel_metrics_gauge": ("gauge", "", False),
        "otel_metrics_sum": ("sum", "cumulative", True),
        "otel_metrics_histogram": ("histogram", "delta", True),
        "otel_metrics_exponential_histogram": ("exponential_histogram", "delta", True),
        "otel_metrics_summary": ("summary", "cumulative", True),
    }
    for table, (kind, temporality, monotonic) in kinds.items():
        own: dict[str, Any] = {"MetricUnit": "ms", "MetricDescription": f"a {kind}"}
        if temporality and kind != "summary":
            own["AggregationTemporality"] = 1 if temporality == "delta" else 2
        if kind == "sum":
            own["IsMonotonic"] = monotonic
        for at_s in (START_S + DAY_S, START_S):
            rows = [point(at_s, "cart", f"m.{kind}", Attributes={"n": str(n % 40)}, **own) for n in range(80)]
            insert(tables.client, table, rows, tables.name)

    found = {row["MetricName"]: row for row in ask(tables, "{db}.inventory_metrics")}

    assert found.keys() == {f"m.{kind}" for kind, *_ in kinds.values()}
    for kind, temporality, monotonic in kinds.values():
        row = found[f"m.{kind}"]
        assert (row["Kind"], row["Temporality"], row["Monotonic"]) == (kind, temporality, monotonic)
        assert (row["Unit"], row["Description"]) == ("ms", f"a {kind}")
        assert (row["DataPoints"], row["Series"], row["First"], row["Last"]) == (160, 40, START_S, START_S + DAY_S)


def deployments(tables: Database, from_s: int = START_S, to_s: int = START_S + 7 * DAY_S) -> list[tuple[Any, ...]]:
    """Minutes after START_S, version, the one before it, whether it had been there before."""
    rows = tables.ask(
        "SELECT toUnixTimestamp(Time) AS At, * FROM {db}.deployments(from = {f:String}, to = {t:String}) ORDER BY Time",
        f=text(from_s), t=text(to_s),
    )  # fmt: skip
    return [
        ((row["At"] - START_S) // 60, row["ServiceVersion"], row["PreviousVersion"], bool(row["Returned"]))
        for row in rows
    ]


def text(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def running(version: str, first: int, last: int, every: int = 1, **columns: Any) -> list[dict[str, Any]]:
    """A span in each of these minutes after START_S."""
    return [
        span(START_S + minute * MINUTE_S + 5, "cart", version=version, **columns)
        for minute in range(first, last + 1, every)
    ]


def test_a_version_that_was_never_seen_before_is_a_deployment(tables: Database) -> None:
    # Both run side by side for a while, as they do in a rolling update.
    insert_spans(tables, running("1", 0, 70) + running("2", 60, 200))
    assert deployments(tables) == [(0, "1", "", False), (60, "2", "1", False)]
    assert deployments(tables, START_S + 30 * MINUTE_S) == [(60, "2", "1", False)]
    assert deployments(tables, START_S + 90 * MINUTE_S) == []


def test_a_rollback_is_one_too_and_a_quiet_service_is_not(tables: Database) -> None:
    insert_spans(tables, running("1", 0, 60) + running("2", 60, 90) + running("1", 90, 120))
    # Two hours of silence, then the same version: nobody deployed anything.
    insert_spans(tables, running("1", 240, 250))
    assert deployments(tables) == [(0, "1", "", False), (60, "2", "1", False), (90, "1", "2", True)]


def test_an_old_version_seen_again_after_days_of_silence_was_not_deployed(tables: Database) -> None:
    insert_spans(tables, running("1", 0, 10))
    later = 5 * 24 * 60
    insert_spans(tables, running("1", later, later + 10))
    assert deployments(tables, START_S + 4 * DAY_S) == []


def test_environments_tenants_and_services_are_deployed_apart(tables: Database) -> None:
    insert_spans(tables, running("1", 0, 100))
    insert_spans(tables, running("2", 10, 100, Environment="staging"))
    insert_spans(tables, running("2", 20, 100, TenantId="other"))
    insert_spans(tables, [{**row, "ServiceName": "pay"} for row in running("2", 30, 100)])
    assert deployments(tables) == [
        (0, "1", "", False), (10, "2", "", False), (20, "2", "", False), (30, "2", "", False),
    ]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_deployments_are_those_of_a_plain_reading_of_the_spans(tables: Database, seed: int) -> None:
    source = random.Random(seed)
    seen: dict[str, set[int]] = {}
    minute = 0
    for _ in range(12):
        version, length = source.choice("abcd"), source.randint(1, 60)
        seen.setdefault(version, set()).update(range(minute, minute + length, source.randint(1, 5)))
        minute += length + source.choice((-10, 0, 0, 30))
        minute = max(minute, 0)
    rows = [span(START_S + at * MINUTE_S, "cart", version=v) for v, minutes in seen.items() for at in minutes]
    source.shuffle(rows)
    for start in range(0, len(rows), 50):
        insert_spans(tables, rows[start : start + 50])

    order = sorted((at, version) for version, minutes in seen.items() for at in minutes)
    expected = []
    for n, (at, version) in enumerate(order):
        earlier = [then for then, other in order[:n] if other == version]
        latest, before = order[n - 1] if n else (0, "")
        if not earlier:
            expected.append((at, version, before, False))
        elif at - earlier[-1] >= 15 and before != version and latest > earlier[-1]:
            expected.append((at, version, before, True))
    assert sorted(deployments(tables)) == sorted(expected)


# What the view answers, read from every minute of the period: simple, and too slow for a week of many spans.
EVERY_MINUTE = """
SELECT Time, TenantId, ServiceName, Environment, ServiceVersion, BeforeIt AS PreviousVersion, Itself != 0 AS Returned
FROM
(
    SELECT
        *,
        lagInFrame(Time) OVER (PARTITION BY TenantId, ServiceName, Environment, ServiceVersion ORDER BY Time
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS Itself,
        lagInFrame(Time) OVER running AS Latest,
        lagInFrame(ServiceVersion) OVER running AS BeforeIt
    FROM
    (
        SELECT DISTINCT TenantId, ServiceName, Environment, ServiceVersion, Time
        FROM {db}.spans_1m
        WHERE Time >= {f:DateTime} - 86400 AND Time < {t:DateTime} AND ServiceVersion != ''
    )
    WINDOW running AS (PARTITION BY TenantId, ServiceName, Environment ORDER BY Time, ServiceVersion
        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
) AS seen
LEFT JOIN
(
    SELECT TenantId, ServiceName, Environment, ServiceVersion, min(FirstSeen) AS FirstSeen
    FROM {db}.spans_1h
    GROUP BY TenantId, ServiceName, Environment, ServiceVersion
) AS ever USING (TenantId, ServiceName, Environment, ServiceVersion)
WHERE Time >= {f:DateTime} AND if(Itself = 0, ever.FirstSeen >= toStartOfHour(Time, 'UTC'),
    Time - Itself >= 900 AND Latest > Itself AND BeforeIt != ServiceVersion)
"""


def history(source: random.Random) -> set[tuple[int, str]]:
    """Minutes after START_S and the versions seen in them: runs of minutes to a day, beside each other and apart."""
    # Versions that other services have too, or its own.
    suffix = source.choice(("", f"-{source.random()}"))
    seen: set[tuple[int, str]] = set()
    minute = source.randint(0, 1500)
    for _ in range(source.randint(1, 12)):
        version = source.choice(("a", "b", "c", "d"))
        last = minute + source.randint(1, source.choice((1, 5, 60, 1500)))
        seen.update((at, version + suffix) for at in range(minute, last, source.choice((1, 3, 7, 20, 45))))
        if source.random() < 0.3:
            other = source.choice(("a", "b", "c", "d", ""))
            seen.update((at, other and other + suffix) for at in range(minute, last, source.choice((1, 2, 15, 16, 61))))
        # Also with the hour in which the last one ended, before it.
        minute = max(0, last + source.choice((-(last % 60), -40, -10, -1, 0, 0, 1, 14, 15, 16, 30, 61, 200, 2000)))
    return seen


@pytest.mark.parametrize("seed", range(4))
def test_deployments_are_the_same_as_from_every_minute(tables: Database, seed: int) -> None:
    source = random.Random(seed)
    where = [("", f"service-{n}", environment) for n in range(15) for environment in ("production", "staging")]
    where += [("other", f"service-{n}", "production") for n in range(15)]
    rows = [
        span(START_S + at * MINUTE_S, service, version=version, TenantId=tenant, Environment=environment)
        for tenant, service, environment in where
        for at, version in history(source)
    ]
    source.shuffle(rows)
    half = len(rows) // 2
    insert_spans(tables, rows[:half])
    if seed % 2:
        # As an earlier release left them, which did not know when in its hour a version was seen.
        update = f"ALTER TABLE {tables.name}.spans_1h UPDATE FirstSeen = Time, LastSeen = Time WHERE true"
        tables.client.command(update, settings={"mutations_sync": 1})
    insert_spans(tables, rows[half:])

    def compare(from_s: int, to_s: int) -> list[dict[str, Any]]:
        period = {"f": text(from_s), "t": text(to_s)}
        found = tables.ask(
            "SELECT toUnixTimestamp(Time) AS At, * FROM {db}.deployments(from = {f:String}, to = {t:String})", **period
        )
        expected = tables.ask(f"SELECT toUnixTimestamp(Time) AS At, * FROM ({EVERY_MINUTE})", **period)
        assert sorted(map(repr, found)) == sorted(map(repr, expected))
        return found

    whole = compare(START_S - DAY_S, START_S + 20 * DAY_S)
    assert {row["Returned"] for row in whole} == {0, 1}
    # Periods that begin shortly before a deployment, or a day, within an hour and within a minute.
    for row in source.choices(whole, k=20):
        from_s = row["At"] - source.choice((0, 17, 10 * MINUTE_S, 50 * MINUTE_S, DAY_S - 30 * MINUTE_S, DAY_S))
        compare(from_s, from_s + source.choice((10 * MINUTE_S, HOUR_S, 7 * DAY_S)))
