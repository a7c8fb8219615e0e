"""Burn rates and budgets over rows in a real store: equal to plain arithmetic, and firing when they should."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Sequence

import pytest

from dashboards.alerts.rule import Rule
from dashboards.alerts.state import Alerts, Labels
from dashboards.grafana.macros import Range, expand
from dashboards.slo.objective import Objective, query
from dashboards.slo.rules import burn_rules
from tests.rows_in_store import Database

HOUR_S, DAY_S = 3600, 86_400
# A whole hour, some hours ago: hours and minutes are cut where windows end.
NOW_S = int(time.time()) // HOUR_S * HOUR_S - 2 * HOUR_S
Call = tuple[int, str, str, str, str, bool, int]


def write(tables: Database, calls: Sequence[Call]) -> None:
    """Time (Unix seconds), service, kind, operation, environment, failed, duration (ns)."""
    tables.client.insert(
        "otel_traces",
        [
            [at_s * 10**9, f"{number:032x}", f"{number:016x}", operation, kind, service, environment,
             "Error" if failed else "Unset", duration_ns]
            for number, (at_s, service, kind, operation, environment, failed, duration_ns) in enumerate(calls, 1)
        ],
        column_names=["Timestamp", "TraceId", "SpanId", "SpanName", "SpanKind", "ServiceName", "Environment",
                      "StatusCode", "Duration"],
        database=tables.name,
    )  # fmt: skip


def ask(tables: Database, sql: str, to_s: int, range_s: int = 3 * DAY_S) -> list[dict[str, object]]:
    client = tables.connect()
    client.database = tables.name
    try:
        return list(client.query(expand(sql, Range(to_s - range_s, to_s))).named_results())
    finally:
        client.close()


def objectives() -> list[Objective]:
    return [
        Objective("all", "All", "cart", 0.99, 30 * DAY_S),
        Objective("one", "One", "cart", 0.999, 28 * DAY_S, operation="GET /", environment="prod", min_failures=1),
        Objective("slow", "Slow", "cart", 0.95, 30 * DAY_S, threshold_ns=100_000_000, kinds=("Client",)),
        Objective("idle", "Idle", "nobody", 0.99, 30 * DAY_S),
    ]


def matches(of: Objective, call: Call) -> bool:
    _, service, kind, operation, environment, _, _ = call
    return (
        service == of.service
        and kind in of.kinds
        and of.operation in ("", operation)
        and of.environment in ("", environment)
    )


def is_bad(of: Objective, call: Call) -> bool:
    if of.threshold_ns is None:
        return call[5]
    return math.floor(8 * math.log2(call[6])) >= of.fast_below


def random_calls(count: int) -> list[Call]:
    chosen = random.Random(7)
    # Whole hours beyond six hours, whole minutes within: what the tiers can tell.
    return [
        (
            NOW_S - int(3 * DAY_S * chosen.random() ** 3),
            chosen.choice(["cart", "cart", "pay"]),
            chosen.choice(["Server", "Client", "Internal"]),
            chosen.choice(["GET /", "POST /"]),
            chosen.choice(["prod", "test"]),
            chosen.random() < 0.1,
            int(10 ** (6 + 3 * chosen.random())),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("severity", ["page", "ticket"])
def test_burn_rates_equal_plain_arithmetic(tables: Database, severity: str) -> None:
    calls = random_calls(20_000)
    write(tables, calls)
    [rule] = [rule for rule in burn_rules(objectives()) if rule.severity == severity]
    found = {
        (row["slo"], row["burn_window"]): row["value"] for row in ask(tables, rule.query, NOW_S, range_s=rule.range_s)
    }
    minutes_from = (NOW_S - 6 * HOUR_S) // HOUR_S * HOUR_S

    def within(at_s: int, window_s: int) -> bool:
        cell_s = at_s // 60 * 60 if at_s >= minutes_from else at_s // HOUR_S * HOUR_S
        return cell_s > NOW_S - window_s

    expected = {}
    for of in objectives():
        for name, long_s, short_s, share in of.pairs(rule.severity):
            shares, failures = [], []
            for window_s in (long_s, short_s):
                of_window = [call for call in calls if matches(of, call) and within(call[0], window_s)]
                bad = sum(is_bad(of, call) for call in of_window)
                failures.append(bad)
                shares.append(bad / max(len(of_window), 1))
            expected[of.name, name] = min(shares) / share if failures[0] >= of.min_failures else 0.0
    assert set(found) == set(expected)
    for key, value in expected.items():
        assert found[key] == pytest.approx(value, rel=1e-9), key
    assert sum(value > 0 for value in expected.values()) >= len(expected) / 2


def test_budgets_equal_plain_arithmetic(tables: Database) -> None:
    calls = random_calls(5_000)
    write(tables, calls)
    found = {row["SLO"]: row for row in ask(tables, query("budgets", objectives()), NOW_S)}
    for of in objectives():
        matching = [call for call in calls if matches(of, call)]
        bad = sum(is_bad(of, call) for call in matching)
        row = found[of.name]
        assert (row["Calls"], row["BadCalls"]) == (len(matching), bad)
        if not matching:
            assert row["BudgetLeft"] is None
            continue
        assert row["BudgetLeft"] == pytest.approx(1 - bad / len(matching) / (1 - of.target))


def changes(tables: Database, rule: Rule, from_s: int, to_s: int) -> list[tuple[int, str, str]]:
    """Minutes after `from_s`, what became of an alert, and its pair of windows."""
    alerts, seen = Alerts(rule), []
    for now_s in range(from_s, to_s + 1, rule.every_s):
        rows: dict[Labels, float] = {}
        for row in ask(tables, rule.query, now_s, rule.range_s):
            value = float(str(row.pop("value")))
            rows[tuple((name, str(text)) for name, text in row.items())] = value
        seen += [
            ((now_s - from_s) // 60, change.became, dict(change.labels)["burn_window"])
            for change in alerts.evaluated(now_s, rows)
        ]
    return seen


def steady(from_s: int, to_s: int, every_s: int, failing: range) -> list[Call]:
    return [
        (at_s, "cart", "Server", "GET /", "prod", at_s in failing, 1_000_000) for at_s in range(from_s, to_s, every_s)
    ]


def rule_of(target: float, severity: str = "page", **more: int) -> Rule:
    return next(
        rule
        for rule in burn_rules([Objective("cart", "Cart", "cart", target, 30 * DAY_S, **more)])  # type: ignore[arg-type]
        if rule.severity == severity
    )


def test_an_outage_pages_within_two_minutes_and_resolves_when_it_is_over(tables: Database) -> None:
    outage = range(NOW_S, NOW_S + 20 * 60)
    write(tables, steady(NOW_S - 6 * HOUR_S, NOW_S + 50 * 60, 1, outage))
    found = [each for each in changes(tables, rule_of(0.999), NOW_S, NOW_S + 50 * 60) if each[2] == "1h/5m"]
    # 14.4 times 0.1 % of an hour is 52 s of an outage. Five minutes after its end the short window is clean.
    assert found[0][1] == "firing"
    assert found[0][0] <= 2
    assert found[1][1] == "resolved"
    assert 25 <= found[1][0] <= 31
    assert len(found) == 2


def test_one_failed_call_in_the_night_pages_nobody(tables: Database) -> None:
    write(tables, steady(NOW_S - 6 * HOUR_S, NOW_S + HOUR_S, 600, range(NOW_S, NOW_S + 600)))
    assert changes(tables, rule_of(0.999), NOW_S, NOW_S + HOUR_S) == []


def test_few_calls_that_nearly_all_fail_page_by_the_absolute_rule(tables: Database) -> None:
    """Two calls an hour: no short window of a burn rate ever holds enough of them."""
    write(tables, steady(NOW_S - 8 * HOUR_S, NOW_S, 1800, range(NOW_S - 4 * HOUR_S, NOW_S)))
    found = ask(tables, rule_of(0.999).query, NOW_S - 60, 6 * HOUR_S)
    assert {row["burn_window"]: float(str(row["value"])) > 1 for row in found}["6h absolute"]


def test_a_slow_burn_is_a_ticket_and_no_page(tables: Database) -> None:
    calls = [
        (at_s, "cart", "Server", "GET /", "prod", at_s % 2000 == 0, 1_000_000)
        for at_s in range(NOW_S - 3 * DAY_S, NOW_S, 10)
    ]
    write(tables, calls)
    pages = ask(tables, rule_of(0.999).query, NOW_S, 6 * HOUR_S)
    tickets = ask(tables, rule_of(0.999, "ticket").query, NOW_S, 3 * DAY_S)
    assert all(float(str(row["value"])) <= 1 for row in pages)
    assert {str(row["burn_window"]) for row in tickets if float(str(row["value"])) > 1} == {"1d/2h", "3d/6h"}
