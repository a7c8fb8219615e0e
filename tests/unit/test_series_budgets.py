"""Budgets of series: first come, first served, in three levels; what is over them is folded, at every attempt alike."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from processors.arena import Arena
from processors.decode import decode
from processors.guard.budgets import Budgets, Decision, Window, repeat
from processors.guard.fold import BUDGET, OVERFLOW, fold
from processors.guard.series import Group, Points, SeriesSet, points_of
from schemas.signals import Signal
from tests import decode_oracle, native_block
from tests.decoded import blocks, comparable
from tests.strategies import SEEDS, record_of, records_from

Series = tuple[str, str, str, tuple[tuple[str, str], ...]]


class Reference:
    """The budgets in plain Python: sets of attribute sets."""

    def __init__(self, budgets: Budgets) -> None:
        self.budgets = budgets
        self.seen: set[Series] = set()
        self.counts: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def admits(self, series: Series) -> bool:
        tenant, service, metric, _ = series
        levels = ((tenant, service, metric), (tenant, service), (tenant,))
        limits = (self.budgets.metric, self.budgets.service, self.budgets.tenant)
        if series not in self.seen:
            if any(self.counts[level] >= limit for level, limit in zip(levels, limits, strict=True)):
                return False
            self.seen.add(series)
            for level in levels:
                self.counts[level] += 1
        return True


def request(rng: random.Random, points: int, kinds: int) -> bytes:
    made = ExportMetricsServiceRequest()
    for service in rng.sample(("cart", "pay", "größe"), 2):
        group = made.resource_metrics.add()
        group.resource.attributes.add(key="service.name").value.string_value = service
        # Another instance of the same service: its attribute sets are the same series to a budget.
        group.resource.attributes.add(key="pod").value.string_value = f"pod-{rng.randint(0, 9)}"
        for metric in group.scope_metrics.add().metrics, group.scope_metrics.add().metrics:
            one = metric.add(name=rng.choice(("calls", "bytes")))
            for _ in range(points):
                point = one.sum.data_points.add(as_int=1)
                for key in rng.sample(("a", "user.id", "route"), rng.choice((0, 1, 2))):
                    value = f"{'long ' * rng.choice((0, 4))}{rng.randint(0, kinds)}"
                    point.attributes.add(key=key).value.string_value = value
    return made.SerializeToString()


def series_of(row: dict[str, Any]) -> Series:
    return row["TenantId"], row["ServiceName"], row["MetricName"], tuple(row["Attributes"])


@given(
    SEEDS,
    st.sampled_from([Budgets(3, 5, 9), Budgets(10, 1000, 1000), Budgets(1000, 12, 15), Budgets(9999, 9999, 9999)]),
)
@settings(max_examples=60, deadline=None)
def test_series_are_admitted_in_order_until_a_budget_is_spent(seed: int, budgets: Budgets) -> None:
    rng = random.Random(seed)
    window, reference, arena = Window(), Reference(budgets), Arena()
    for _ in range(4):
        records = [
            record_of(Signal.METRICS, request(rng, rng.choice((1, 30)), rng.choice((2, 50))), tenant=tenant)
            for tenant in rng.choices(("", "acme"), k=2)
        ]
        decoded = decode(Signal.METRICS, records, arena)
        rows = decode_oracle.rows(Signal.METRICS, records)["otel_metrics_sum"]
        points = points_of(decoded.tables["otel_metrics_sum"])
        decision = window.decide({"otel_metrics_sum": points}, budgets)
        folded = decision.folded["otel_metrics_sum"].tolist()
        # Groups of a batch share what is left of a service's budget group by group, not point by point.
        admitted = expected_admissions(reference, rows, points)
        assert folded == [series_of(row) not in admitted for row in rows]
        assert sum(decision.points.values()) == sum(folded)
        assert len(window) == len(reference.seen)


def expected_admissions(reference: Reference, rows: list[dict[str, Any]], points: Points) -> set[Series]:
    by_group: dict[int, list[Series]] = defaultdict(list)
    for row, group in zip(rows, points.group_of_row.tolist(), strict=True):
        by_group[group].append(series_of(row))
    return {series for group in sorted(by_group) for series in by_group[group] if reference.admits(series)}


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_series_are_told_apart_as_their_rows_are(seed: int) -> None:
    records = records_from(seed, Signal.METRICS)
    decoded = decode(Signal.METRICS, records, Arena())
    numbers: dict[Series, int] = {}
    for name, rows in decode_oracle.rows(Signal.METRICS, records).items():
        points = points_of(decoded.tables[name])
        for row, number in zip(rows, points.series.tolist(), strict=True):
            assert numbers.setdefault(series_of(row), number) == number
    assert len(set(numbers.values())) == len(numbers)


def test_a_series_has_the_same_number_in_every_process_and_release() -> None:
    made = ExportMetricsServiceRequest()
    group = made.resource_metrics.add()
    group.resource.attributes.add(key="service.name").value.string_value = "cart"
    point = group.scope_metrics.add().metrics.add(name="calls").sum.data_points.add(as_int=1)
    point.attributes.add(key="route").value.string_value = "/checkout"
    point.attributes.add(key="user").value.string_value = "a text that is longer than a view"
    decoded = decode(Signal.METRICS, [record_of(Signal.METRICS, made.SerializeToString(), tenant="acme")], Arena())
    assert points_of(decoded.tables["otel_metrics_sum"]).series.tolist() == [18315526110321782750]


@given(SEEDS)
@settings(max_examples=60, deadline=None)
def test_folded_points_keep_everything_but_their_attributes(seed: int) -> None:
    records = records_from(seed, Signal.METRICS)
    rng = random.Random(seed)
    arena = Arena()
    decoded = decode(Signal.METRICS, records, arena)
    expected = decode_oracle.rows(Signal.METRICS, records)
    for name, rows in expected.items():
        folded = np.array([rng.random() < 0.4 for _ in rows])
        levels = np.array([rng.choice(("metric", "service", "tenant")) for _ in range(int(folded.sum()))], "<U7")
        decoded.tables[name] = fold(decoded.tables[name], folded, levels)
        for row, level in zip(
            (row for row, is_folded in zip(rows, folded, strict=True) if is_folded), levels, strict=True
        ):
            row["Attributes"] = [(OVERFLOW, "true"), (BUDGET, str(level))]
    found = {name: native_block.rows(body) for name, body in blocks(decoded, arena).items()}
    assert comparable(found) == comparable(expected)


def test_a_repeat_folds_what_was_recorded_whatever_the_budgets_are_now() -> None:
    rng, arena = random.Random(1), Arena()
    records = [record_of(Signal.METRICS, request(rng, 200, 400))]
    tables = {"otel_metrics_sum": points_of(decode(Signal.METRICS, records, arena).tables["otel_metrics_sum"])}
    first = Window()
    decision = first.decide(tables, Budgets(20, 1000, 1000))
    assert decision.points
    whole = first.of_groups(decision.spent)
    recorded = {group: (decision.spent[group], whole[group]) for group in decision.spent}
    # Another process, which knows less, and one that knows more.
    for window in (Window(), Window()):
        again = repeat(tables, recorded, window)
        assert again.folded["otel_metrics_sum"].tolist() == decision.folded["otel_metrics_sum"].tolist()
        assert (again.points, again.spent) == (decision.points, decision.spent)
        assert len(window) == len(first)
        window.decide(tables, Budgets(10_000, 10_000, 10_000))
        assert repeat(tables, recorded, window).points == decision.points


def test_a_set_of_series_grows_without_losing_any() -> None:
    rng = np.random.default_rng(7)
    numbers = np.unique(rng.integers(1, 2**63, 300_000).astype(np.uint64))
    held = SeriesSet()
    for part in np.array_split(numbers, 37):
        assert not held.has(part).any()
        held.add(part, np.full(len(part), len(held) % 3))
    assert len(held) == len(numbers)
    assert held.has(numbers).all()
    of_groups = held.of_groups(np.array([0, 1, 2, 3], np.int32))
    assert sum(len(each) for each in of_groups.values()) == len(numbers)
    assert not len(of_groups[3])


@pytest.mark.parametrize("level", ["metric", "service", "tenant"])
def test_what_was_spent_is_named(level: str) -> None:
    rows = request(random.Random(3), 50, 1000)
    tables = {
        "t": points_of(decode(Signal.METRICS, [record_of(Signal.METRICS, rows)], Arena()).tables["otel_metrics_sum"])
    }
    budgets = Budgets(*(5 if name == level else 10_000 for name in ("metric", "service", "tenant")))
    decision: Decision = Window().decide(tables, budgets)
    assert {(spent.level, spent.budget) for spent in decision.spent.values()} == {(level, 5)}
    assert all(isinstance(group, Group) for group in decision.points)
