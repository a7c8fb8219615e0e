"""RED of services, by minute and by hour, as the store answers it from rollups: against the spans themselves."""

from __future__ import annotations

import random
from typing import Any

import pytest

from processors import schema
from processors.store_client import connect
from sluiceway.embedded.store import EmbeddedStore
from tests.kafka_broker import fresh_name
from tests.rows_in_store import KEPT, Database
from tests.viewer_under_test import insert, span, writer

# 2026-01-15 10:00 UTC.
HOUR_S = 1_768_471_200
DAY = {"from": "2026-01-15 00:00:00", "to": "2026-01-16 00:00:00"}
TIERS = {"service_red_1m": 60, "service_red_1h": 3600}


def insert_spans(tables: Database, rows: list[dict[str, Any]]) -> None:
    insert(tables.client, "otel_traces", rows, tables.name)


def red(tables: Database, view: str, **period: str) -> list[dict[str, Any]]:
    sql = f"SELECT *, toUnixTimestamp(Time) AS At FROM {{db}}.{view}(from = {{f:String}}, to = {{t:String}})"
    asked = DAY | period
    return tables.ask(f"{sql} ORDER BY Time, ServiceName", f=asked["from"], t=asked["to"])


@pytest.mark.parametrize("view", TIERS)
def test_only_calls_into_a_service_count_and_of_one_that_has_none_every_span(tables: Database, view: str) -> None:
    insert_spans(tables, [
        *(span(HOUR_S, "cart", failed=n < 3) for n in range(10)),
        *(span(HOUR_S, "cart", kind="Consumer") for _ in range(5)),
        *(span(HOUR_S, "cart", kind=kind) for kind in ("Client", "Producer", "Internal") for _ in range(20)),
        *(span(HOUR_S, "batch", kind="Internal") for _ in range(7)),
        # Another tenant's service of that name has calls of its own.
        *(span(HOUR_S, "batch", TenantId="other") for _ in range(2)),
    ])  # fmt: skip
    found = {(row["TenantId"], row["ServiceName"]): (row["Calls"], row["Errors"]) for row in red(tables, view)}
    assert found == {("", "cart"): (15, 3), ("", "batch"): (7, 0), ("other", "batch"): (2, 0)}


@pytest.mark.parametrize(("view", "step_s"), TIERS.items())
def test_late_spans_and_spans_out_of_order_land_in_their_own_time(tables: Database, view: str, step_s: int) -> None:
    times = [HOUR_S + second for second in range(0, 3 * 3600, 600)]
    random.Random(view).shuffle(times)
    for at_s in times:
        insert_spans(tables, [span(at_s, "cart")])
    insert_spans(tables, [span(times[0], "cart"), span(times[-1], "cart")])
    expected: dict[int, int] = {}
    for at_s in (*times, times[0], times[-1]):
        expected[at_s // step_s * step_s] = expected.get(at_s // step_s * step_s, 0) + 1
    assert {row["At"]: row["Calls"] for row in red(tables, view)} == expected


@pytest.mark.parametrize("view", TIERS)
def test_every_cell_names_a_slow_trace_and_a_failed_one(tables: Database, view: str) -> None:
    parts = [
        [span(HOUR_S, "cart", trace_id=f"ok-{n}", duration_ns=n * 1000, name=f"GET /{n % 3}") for n in range(1, 50)],
        [span(HOUR_S, "cart", trace_id=f"bad-{n}", duration_ns=n * 10, failed=True) for n in range(1, 20)],
        # The longest of all belongs to no trace, and so leads nowhere.
        [span(HOUR_S, "cart", trace_id="", duration_ns=10**12)],
    ]
    for rows in parts:
        insert_spans(tables, rows)
    [row] = red(tables, view)
    assert (row["SlowTraceId"], row["FailedTraceId"]) == ("ok-49", "bad-19")
    tables.client.command(f"OPTIMIZE TABLE {tables.name}.spans_1m FINAL")
    tables.client.command(f"OPTIMIZE TABLE {tables.name}.spans_1h FINAL")
    assert red(tables, view) == [row]


@pytest.mark.parametrize("view", TIERS)
def test_quantiles_are_within_five_percent_and_none_failed_is_an_empty_id(tables: Database, view: str) -> None:
    source = random.Random(7)
    durations = sorted(int(source.lognormvariate(16, 1)) for _ in range(2000))
    insert_spans(tables, [span(HOUR_S, "cart", duration_ns=each, trace_id="t") for each in durations])
    [row] = red(tables, view)
    exact = [durations[1000 - 1], durations[1900 - 1], durations[1980 - 1]]
    assert [row["P50"], row["P95"], row["P99"]] == pytest.approx(exact, rel=0.05)
    assert (row["DurationSum"], row["FailedTraceId"]) == (sum(durations), "")


def test_readers_ask_by_period_and_may_compute_it(store: EmbeddedStore) -> None:
    service = fresh_name("cart")
    with writer(store) as client:
        schema.apply(client, "otel", KEPT)
        insert(client, "otel_traces", [span(HOUR_S, service), span(HOUR_S + 3600, service)])
    with connect(store.url) as reader:
        found = reader.query(
            "SELECT sum(Calls) FROM otel.service_red_1h(from = {a:DateTime}, to = {a:DateTime} + 3600)"
            " WHERE ServiceName = {service:String}",
            parameters={"a": HOUR_S, "service": service},
        )
    assert found.result_rows == [(1,)]


# Midnight after HOUR_S.
NEXT_DAY_S = HOUR_S + 14 * 3600
TWO_DAYS = {"from": "2026-01-15 00:00:00", "to": "2026-01-17 00:00:00"}
CAME: dict[str, tuple[dict[int, int], int | None]] = {
    "that began with them has them from the start": ({5: HOUR_S}, 0),
    "that was upgraded has them from the next day on": ({4: HOUR_S - 86400, 5: HOUR_S, 6: HOUR_S + 7200}, NEXT_DAY_S),
    "whose upgrade was not recorded has none": ({4: HOUR_S}, None),
    "of which nothing is recorded has none": ({}, None),
}


@pytest.mark.parametrize(("versions", "since_s"), CAME.values(), ids=CAME)
@pytest.mark.parametrize("view", TIERS)
def test_cells_of_services_are_read_where_they_are_whole_and_a_store(
    tables: Database, view: str, versions: dict[int, int], since_s: int | None
) -> None:
    tables.client.command(f"TRUNCATE TABLE {tables.name}.schema_versions")
    for version, at_s in versions.items():
        insert(tables.client, "schema_versions", [{"Version": version, "AppliedAt": at_s}], tables.name)
    before = [span(NEXT_DAY_S - 60, "cart"), span(NEXT_DAY_S - 60, "batch", kind="Internal")]
    insert_spans(tables, [*before, *(span(NEXT_DAY_S, "cart", failed=n == 0) for n in range(3))])
    # Each time is left in one of both tables only.
    tier = view.rpartition("_")[2]
    whole = "false" if since_s is None else f"Time >= toDateTime({since_s})"
    for table, gone in ((f"services_{tier}", f"NOT ({whole})"), (f"spans_{tier}", whole)):
        sql = f"ALTER TABLE {tables.name}.{table} DELETE WHERE {gone} SETTINGS mutations_sync = 1"
        tables.client.command(sql)
    found = [(row["At"] >= NEXT_DAY_S, row["ServiceName"], row["Calls"], row["Errors"])
             for row in red(tables, view, **TWO_DAYS)]  # fmt: skip
    assert found == [(False, "batch", 1, 0), (False, "cart", 1, 0), (True, "cart", 3, 1)]
