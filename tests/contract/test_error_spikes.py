"""Whose failures they are, and what they have in common: the rule and its culprit over rows in a real store."""

from __future__ import annotations

import time
from collections.abc import Sequence

from dashboards.alerts.rule import Rule
from dashboards.alerts.rules import RULES
from dashboards.grafana.macros import Range, expand
from tests.rows_in_store import Database

NOW_S = int(time.time()) // 60 * 60 - 1
[SPIKE] = [rule for rule in RULES if rule.name == "error-spike"]
# Seconds before now, service, kind, zone, host, failed, what it says.
Call = tuple[int, str, str, str, str, bool, str]


def write(tables: Database, calls: Sequence[Call]) -> None:
    tables.client.insert(
        "otel_traces",
        [
            [(NOW_S - ago_s) * 10**9, f"{number:032x}", f"{number:016x}", "GET /", kind, service, "prod",
             {"cloud.availability_zone": zone, "host.name": host}, "Error" if failed else "Unset", said, 1_000_000]
            for number, (ago_s, service, kind, zone, host, failed, said) in enumerate(calls, 1)
        ],
        column_names=["Timestamp", "TraceId", "SpanId", "SpanName", "SpanKind", "ServiceName", "Environment",
                      "ResourceAttributes", "StatusCode", "StatusMessage", "Duration"],
        database=tables.name,
    )  # fmt: skip


def ask(tables: Database, sql: str, **variables: str) -> list[dict[str, object]]:
    client = tables.connect()
    client.database = tables.name
    try:
        return list(client.query(expand(sql, Range(NOW_S - SPIKE.range_s, NOW_S, variables=variables))).named_results())
    finally:
        client.close()


def firing(tables: Database, rule: Rule = SPIKE) -> set[object]:
    return {row["service"] for row in ask(tables, rule.query) if float(str(row["value"])) > rule.above}


def steady(service: str, kind: str, ago_s: range, *, fails_every: int = 0, zone: str = "a") -> list[Call]:
    return [
        (at, service, kind, zone, f"host-{number % 4}", bool(fails_every) and number % fails_every == 0, "it broke")
        for number, at in enumerate(ago_s)
    ]


def test_the_callee_is_paged_and_its_callers_are_not(tables: Database) -> None:
    before = [each for name in ("shop", "pay") for each in steady(name, "Server", range(300, 3900, 5))]
    now = [each for name in ("shop", "pay") for each in steady(name, "Server", range(0, 300, 5), fails_every=2)]
    write(tables, before + now + steady("shop", "Client", range(0, 300, 5), fails_every=2))
    assert firing(tables) == {"pay"}


def test_a_service_that_always_fails_a_little_is_not_paged(tables: Database) -> None:
    write(tables, steady("pay", "Server", range(0, 3900, 2), fails_every=10))
    assert firing(tables) == set()


def test_a_share_that_the_same_hour_of_other_weeks_had_is_not_paged(tables: Database) -> None:
    week_s = 7 * 86_400
    calls = steady("pay", "Server", range(300, 3900, 5)) + steady("pay", "Server", range(0, 300, 5), fails_every=5)
    write(tables, calls)
    assert firing(tables) == {"pay"}
    for week in (1, 2, 3):
        at_s = week * week_s
        write(tables, [(at_s, *call[1:]) for call in steady("pay", "Server", range(0, 300, 5), fails_every=5)])
    assert firing(tables) == set()


def test_few_failures_and_few_calls_are_not_paged(tables: Database) -> None:
    write(tables, steady("pay", "Server", range(0, 300, 40), fails_every=1))
    assert firing(tables) == set()


def culprit(tables: Database) -> object:
    assert SPIKE.culprit_query is not None
    [row] = ask(tables, SPIKE.culprit_query, service="pay", environment="prod")
    return row["culprit"]


def test_what_failures_have_in_common_is_named_and_what_all_calls_have_is_not(tables: Database) -> None:
    well = [each for zone in ("a", "b") for each in steady("pay", "Server", range(0, 300, 5), zone=zone)]
    ill = steady("pay", "Server", range(0, 300, 5), zone="c", fails_every=2)
    write(tables, well + ill)
    assert culprit(tables) == "cloud.availability_zone=c it broke"


def test_failures_everywhere_name_nothing_but_what_they_say(tables: Database) -> None:
    calls = [
        each for zone in ("a", "b") for each in steady("pay", "Server", range(0, 300, 3), zone=zone, fails_every=3)
    ]
    write(tables, calls)
    assert culprit(tables) == "it broke"
