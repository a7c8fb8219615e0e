"""The guards between a real log and a real store: a batch is guarded once, whoever finishes it, and it is counted."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from ingest.wire_schema import REQUESTS
from processors.guard.budgets import Budgets
from processors.guard.guard import Policy
from processors.guard.rules import RedactionRule
from schemas.columns import tables_of
from schemas.signals import Signal
from tests import decode_oracle, guard_oracle
from tests.decoded import comparable
from tests.line_under_test import Line
from tests.otlp_requests import NOW_NS, Maker, items
from tests.rows_in_store import Database

KEY = b"a key of tests, long enough"
MAIL = RedactionRule(name="cart", action="hash", pattern="cart|GET")
NAMES = RedactionRule(name="names", action="drop", attributes=("a",))
OLD = Policy((MAIL,), KEY)
NEW = Policy((NAMES,), KEY)
PEOPLE = 60
RECEIVED_AT_NS = time.time_ns()


@pytest.fixture
def line(tmp_path: Path, tables: Database) -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(signal: Signal) -> Line:
        made.append(Line(tmp_path, tables, signal))
        # Series are kept for two days after they were received.
        made[-1].received_at_ns = RECEIVED_AT_NS
        return made[-1]

    yield make
    for each in made:
        each.close()


def request(signal: Signal, seed: int) -> bytes:
    rng, message = random.Random(seed), REQUESTS[signal]()
    while len(list(items(message))) < 20:
        Maker(rng, repeats=3).fill(message)
    value: bytes = message.SerializeToString()
    return value


def counted(tables: Database, column: str) -> dict[str, int]:
    """What the ledger says of each table."""
    found = tables.ask(f"SELECT TableName, sum({column}) AS n FROM {{db}}.ledger WHERE TableName != '' GROUP BY ALL")
    return {row["TableName"]: row["n"] for row in found if row["n"]}


def assert_redacted(line: Line, by_offset: Mapping[int, Policy]) -> None:
    """Every record is stored once, as the rules of its own policy leave it, and counted."""
    expected: dict[str, list[Any]] = {}
    touched: dict[str, int] = {}
    for record in line.records():
        oracle = decode_oracle.rows(line.signal, [record])
        rows, about, _ = guard_oracle.redact(oracle, by_offset[record.offset].rules, KEY)
        for name, table in comparable(rows).items():
            expected.setdefault(name, []).extend(table)
            touched[name] = touched.get(name, 0) + sum(about[name])
    for table in tables_of(line.signal):
        assert sorted(map(repr, line.tables.rows(table.name))) == sorted(map(repr, expected.get(table.name, [])))
    assert counted(line.tables, "Redacted") == {name: count for name, count in touched.items() if count}


@pytest.mark.parametrize("signal", list(Signal))
def test_rows_are_stored_as_the_rules_leave_them(line: Callable[..., Line], signal: Signal) -> None:
    way = line(signal)
    way.append(*(request(signal, seed) for seed in range(3)))
    way.policy = Policy((MAIL, NAMES), KEY)
    way.consume()
    assert_redacted(way, dict.fromkeys(range(len(way.records()) + 2), way.policy))


STEPS = [
    (signal, step)
    for signal in Signal
    for step in (
        "before freeze",
        "after freeze",
        *(f"after {table.name}" for table in tables_of(signal)),
        "after ledger",
    )
]


@pytest.mark.parametrize(("signal", "step"), STEPS)
def test_a_batch_under_way_is_finished_under_the_rules_that_it_was_begun_with(
    line: Callable[..., Line], signal: Signal, step: str
) -> None:
    way = line(signal)
    way.append(*(request(signal, seed) for seed in range(40)))
    first = [record.offset for record in way.records()]
    way.policy = OLD
    way.crash(step)
    way.policy = NEW
    way.append(request(signal, 100))
    way.consume()
    begun = NEW if step == "before freeze" else OLD
    assert_redacted(way, {record.offset: begun if record.offset in first else NEW for record in way.records()})
    # Without a rule any more, the next batch is whole.
    way.policy = Policy()
    way.append(request(signal, 200))
    way.consume()
    by_offset = {record.offset: begun if record.offset in first else NEW for record in way.records()}
    assert_redacted(way, by_offset | {way.records()[-1].offset: way.policy})


@pytest.mark.parametrize("begun", [Policy(), OLD], ids=["without rules", "with a rule"])
@pytest.mark.parametrize("signal", list(Signal))
def test_bytes_of_a_batch_under_way_are_read_as_it_was_begun(
    line: Callable[..., Line], signal: Signal, begun: Policy
) -> None:
    way = line(signal)
    way.append(*(request(signal, seed) for seed in range(10)))
    way.policy = begun
    way.crash("after freeze")
    way.policy = OLD if not begun.rules else Policy(key=KEY)
    way.consume()
    assert_redacted(way, dict.fromkeys(range(len(way.records()) + 2), begun))


def points(people: int, *, first: int = 0, service: str = "cart", temporality: int = 1, at_s: int = 0) -> bytes:
    """A point of `calls` for each person."""
    made = ExportMetricsServiceRequest()
    group = made.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = service
    metric = group.scope_metrics.add().metrics.add(name="calls")
    metric.sum.aggregation_temporality, metric.sum.is_monotonic = temporality, True
    for person in range(first, first + people):
        point = metric.sum.data_points.add(as_int=1, time_unix_nano=NOW_NS + at_s * 10**9, start_time_unix_nano=NOW_NS)
        point.attributes.add(key="user").value.string_value = f"user {person}"
    return made.SerializeToString()


def folded_rows(tables: Database) -> int:
    has = "mapContains(Attributes, 'otel.metric.overflow') AND mapContains(Attributes, 'sluiceway.budget')"
    return int(tables.ask(f"SELECT countIf({has}) AS n FROM {{db}}.otel_metrics_sum")[0]["n"])


def overflows(tables: Database) -> int:
    return int(tables.ask("SELECT sum(Folded) AS n FROM {db}.series_overflows")[0]["n"])


def series(tables: Database) -> int:
    return int(tables.ask("SELECT uniqExact(Series) AS n FROM {db}.series_admitted")[0]["n"])


BUDGET = Policy(budgets=Budgets(25, 1000, 1000))


@pytest.mark.parametrize(
    ("step", "decided"),
    [
        ("after freeze", False),
        ("before series_admitted", False),
        ("after series_admitted", False),
        ("before series_overflows", False),
        ("after series_overflows", True),
        ("before otel_metrics_sum", True),
        ("after otel_metrics_sum", True),
        ("after ledger", True),
        ("before commit", True),
    ],
)
@pytest.mark.parametrize(
    "now", [Policy(), BUDGET, Policy(budgets=Budgets(5, 5, 5)), Policy(budgets=Budgets(99, 99, 99))]
)
def test_a_batch_under_way_is_folded_as_it_was_begun_whatever_the_budgets_are_now(
    line: Callable[..., Line], step: str, decided: bool, now: Policy
) -> None:
    way = line(Signal.METRICS)
    way.policy = BUDGET
    way.append(points(20))
    way.consume()
    way.append(points(PEOPLE))
    way.crash(step)
    way.policy = now
    way.consume()
    assert way.tables.count("otel_metrics_sum") == 20 + PEOPLE
    # Nothing was stored before the decision was recorded; then the batch is begun anew, without one.
    assert folded_rows(way.tables) == (PEOPLE - 25 if decided else 0)
    assert overflows(way.tables) == folded_rows(way.tables)
    assert counted(way.tables, "Folded").get("otel_metrics_sum", 0) == folded_rows(way.tables)


def test_series_that_were_there_before_stay_whole_after_a_restart(line: Callable[..., Line]) -> None:
    way = line(Signal.METRICS)
    way.policy = BUDGET
    way.append(points(20))
    way.consume()
    for first in (0, 10, 20):
        way.append(points(20, first=first))
        way.consume()
    kept = way.tables.ask("SELECT uniqExact(Attributes['user']) AS n, count() AS c FROM {db}.otel_metrics_sum")[0]
    assert kept == {"n": 25 + 1, "c": 80}
    assert series(way.tables) == 25
    assert folded_rows(way.tables) == overflows(way.tables) == 5 + 15
    found = way.tables.ask(
        "SELECT ServiceName, MetricName, Series, Folded, Budget, Level"
        f" FROM {{db}}.cardinality(from = {RECEIVED_AT_NS // 10**9}, to = {RECEIVED_AT_NS // 10**9 + 1})"
    )
    assert found == [
        {"ServiceName": "cart", "MetricName": "calls", "Series": 25, "Folded": 20, "Budget": 25, "Level": "metric"}
    ]


def test_several_processes_share_a_budget(line: Callable[..., Line]) -> None:
    for first in (0, 15, 30):
        way = line(Signal.METRICS)
        way.policy = BUDGET
        way.append(points(15, first=first))
        way.consume()
    assert series(way.tables) == 25
    assert folded_rows(way.tables) == 20


def test_folded_points_of_delta_add_up_and_those_of_cumulative_series_are_not_rated(line: Callable[..., Line]) -> None:
    way = line(Signal.METRICS)
    way.policy = BUDGET
    for temporality, service in ((1, "delta"), (2, "cumulative")):
        for at_s in (0, 30):
            way.append(points(PEOPLE, service=service, temporality=temporality, at_s=at_s))
    way.consume()
    held = way.tables.ask("SELECT ServiceName, sum(Points) AS n FROM {db}.numbers_1m GROUP BY ALL ORDER BY ALL")
    assert held == [{"ServiceName": "cumulative", "n": 50}, {"ServiceName": "delta", "n": 2 * PEOPLE}]
    days = way.tables.ask("SELECT ServiceName, sum(Points) AS n FROM {db}.metrics_1d GROUP BY ALL ORDER BY ALL")
    assert [row["n"] for row in days] == [2 * PEOPLE, 2 * PEOPLE]


def test_names_that_are_no_utf8_are_counted_and_found_again(line: Callable[..., Line]) -> None:
    way = line(Signal.METRICS)
    way.policy = BUDGET
    bad = points(PEOPLE, service="bad!text").replace(b"bad!text", b"bad\xff\xfetex")
    way.append(bad, counts=[PEOPLE])
    way.crash("after otel_metrics_sum")
    way.consume()
    assert folded_rows(way.tables) == overflows(way.tables) == PEOPLE - 25
