"""Counters by minute and hour: increase and rate, exact, and as a real Prometheus sees the same samples."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real_parts import skip_where_missing
from tests.rows_in_store import Database
from tests.series_in_store import CUMULATIVE, DELTA, EXEMPLARS, LENGTH_S, START_S, ask_windows
from tests.testbed.prometheus import Prometheus
from tests.viewer_under_test import insert


@dataclass(frozen=True, slots=True)
class Sample:
    """A point of a cumulative series: milliseconds after START_S, value, and the begin of its run."""

    at_ms: int
    value: int
    start_ms: int


def point(at_s: float, value: float, start_s: float, **columns: Any) -> dict[str, Any]:
    return {
        # Prometheus has milliseconds; a float of this size is not exact to the microsecond.
        "TimeUnix": f"{at_s:.3f}000000",
        "StartTimeUnix": f"{start_s:.9f}" if start_s else "1970-01-01 00:00:00",
        "ServiceName": "cart",
        "MetricName": "hits",
        "Value": value,
        "IsMonotonic": True,
        "AggregationTemporality": CUMULATIVE,
        **columns,
    }


def insert_points(tables: Database, rows: Sequence[Mapping[str, Any]], table: str = "otel_metrics_sum") -> None:
    insert(tables.client, table, rows, tables.name)


def series(source: random.Random, length_s: int) -> list[Sample]:
    """A counter of a process that restarts now and then, scraped with jitter, with gaps in which nothing is heard."""
    interval_ms = source.choice([5_000, 10_000, 15_000, 30_000, 60_000])
    at_ms, start_ms, value = source.randrange(1, interval_ms), -source.randrange(1, 10**6), source.choice([0, 7, 10**9])
    samples = []
    while at_ms < length_s * 1000:
        # Never on the edge of a window, which Prometheus counts into both.
        samples.append(Sample(at_ms + (at_ms % 1000 == 0), value, start_ms))
        step_ms = interval_ms + source.randrange(-interval_ms // 10, interval_ms // 10)
        if source.random() < 0.03:
            step_ms += source.randrange(60_000, 600_000)
        at_ms += step_ms
        if source.random() < 0.05:
            start_ms = at_ms - source.randrange(1, step_ms)
            value = source.randrange(0, max(value, 1))
        else:
            value += source.choice([0, 1, source.randrange(1000)])
    return samples


def counter(tables: Database, step_s: int, *, tier: str = "1m") -> list[dict[str, Any]]:
    return ask_windows(tables, f"counter_{tier}", "hits", step_s)


@pytest.mark.parametrize(("tier", "step_s"), [("1m", 60), ("1m", 300), ("1m", 420), ("1h", 3600), ("1h", 7200)])
def test_increase_and_rate_are_those_of_prometheus_through_resets_and_gaps(
    tables: Database, tmp_path: Path, tier: str, step_s: int
) -> None:
    source = random.Random(step_s)
    all_series = {f"s{n}": series(source, LENGTH_S) for n in range(12)}
    rows = [
        point(START_S + each.at_ms / 1000, each.value, START_S + each.start_ms / 1000, Attributes={"n": name})
        for name, samples in all_series.items()
        for each in samples
    ]
    source.shuffle(rows)
    for start in range(0, len(rows), 500):
        insert_points(tables, rows[start : start + 500])
    found = {
        (row["At"], dict(row["Attributes"])["n"]): (row["PrometheusIncrease"], row["PrometheusRate"])
        for row in counter(tables, step_s, tier=tier)
        if row["PrometheusIncrease"] is not None
    }

    lines = ["# TYPE hits counter"]
    for name, samples in all_series.items():
        lines += [f'hits_total{{n="{name}"}} {each.value} {START_S + each.at_ms / 1000:.3f}' for each in samples]
    expected: dict[tuple[int, str], tuple[float, float]] = {}
    with skip_where_missing(), Prometheus(tmp_path, "\n".join([*lines, "# EOF", ""])) as prometheus:
        for at_s in range(START_S, START_S + LENGTH_S - step_s + 1, step_s):
            increase, rate = (
                {each["metric"]["n"]: float(each["value"][1]) for each in prometheus.query(text, at_s + step_s)}
                for text in (f"increase(hits_total[{step_s}s])", f"rate(hits_total[{step_s}s])")
            )
            expected |= {(at_s, name): (increase[name], rate[name]) for name in increase}
    whole = {key: pair for key, pair in found.items() if key[0] + step_s <= START_S + LENGTH_S}
    assert len(expected) >= 12
    assert whole.keys() == expected.keys()
    for key, pair in expected.items():
        assert whole[key] == pytest.approx(pair, rel=1e-9, abs=1e-9), key


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("tier", "step_s"), [("1m", 60), ("1m", 600), ("1h", 3600)])
def test_increase_counts_what_was_counted_once_however_windows_are_cut(
    tables: Database, tier: str, step_s: int, seed: int
) -> None:
    samples = series(random.Random(seed), 7200)
    rows = [point(START_S + s.at_ms / 1000, s.value, START_S + s.start_ms / 1000) for s in samples]
    random.Random(seed).shuffle(rows)
    for start in range(0, len(rows), 40):
        insert_points(tables, rows[start : start + 40])
    expected, resets = 0, 0
    for before, after in itertools.pairwise(samples):
        restarted = after.start_ms != before.start_ms
        expected += after.value if restarted else after.value - before.value
        resets += restarted
    # What the first run counted before its first point is known where it began within the time that is looked at.
    if samples[0].start_ms >= {"1m": -3_600_000, "1h": -86_400_000}[tier]:
        expected += samples[0].value
    found = counter(tables, step_s, tier=tier)
    assert sum(row["Increase"] for row in found) == expected
    assert sum(row["Resets"] for row in found) == resets
    assert sum(row["Points"] for row in found) == len(samples)
    assert all(row["Rate"] == pytest.approx(row["Increase"] / step_s) for row in found)


def test_a_restart_is_known_by_its_start_time_though_the_counter_has_overtaken_its_past(tables: Database) -> None:
    insert_points(tables, [
        point(START_S + 10, 100, START_S - 7200),
        point(START_S + 70, 110, START_S - 7200),
        # It began again at 80 and counted 500 in a minute: Prometheus, by values, sees 390.
        point(START_S + 130, 500, START_S + 80),
    ])  # fmt: skip
    [row] = counter(tables, LENGTH_S)
    assert (row["Increase"], row["Resets"]) == (510, 1)
    by_minute = counter(tables, 60)
    assert [(row["Increase"], row["Resets"], row["PrometheusIncrease"]) for row in by_minute] == [
        (0, 0, None), (10, 0, None), (500, 1, None),
    ]  # fmt: skip


def test_a_counter_that_falls_without_a_new_start_time_was_reset(tables: Database) -> None:
    for minute, value in enumerate([100, 130, 20, 25]):
        insert_points(tables, [point(START_S + minute * 60 + 5, value, 0)])
    [row] = counter(tables, LENGTH_S)
    assert (row["Increase"], row["Resets"]) == (30 + 20 + 5, 1)


def test_delta_points_add_up_and_gaps_are_nothing(tables: Database) -> None:
    delta = {"AggregationTemporality": DELTA}
    for n in (0, 1, 2, 50, 51):
        insert_points(tables, [point(START_S + n * 60 + 1, n + 0.5, START_S + n * 60 - 59, **delta)])
    assert sum(row["Increase"] for row in counter(tables, 60)) == 0.5 * 5 + 104
    [row] = counter(tables, LENGTH_S, tier="1h")
    assert (row["Increase"], row["Resets"], row["PrometheusIncrease"]) == (106.5, 0, 106.5)


def test_an_up_down_counter_falls_without_a_reset(tables: Database) -> None:
    for n, value in enumerate([5, 9, 3, 4]):
        insert_points(tables, [point(START_S + n * 60 + 1, value, START_S - 7200, IsMonotonic=False)])
    [row] = counter(tables, LENGTH_S)
    assert (row["Increase"], row["Resets"]) == (-1, 0)


def test_series_are_told_apart_by_every_attribute_of_point_resource_scope_and_tenant(tables: Database) -> None:
    variants: list[dict[str, Any]] = [
        {}, {"Attributes": {"a": "1"}}, {"Attributes": {"a": "2'\\,\n{}:é\t\""}},
        {"ResourceAttributes": {"host.name": "x"}},
        {"ScopeName": "lib"}, {"TenantId": "other"}, {"MetricUnit": "ms"}, {"AggregationTemporality": DELTA},
    ]  # fmt: skip
    insert_points(tables, [point(START_S + 10, 1, START_S + 1, **variant) for variant in variants])
    rows = counter(tables, LENGTH_S)
    assert len(rows) == len(variants)
    assert [dict(row["Attributes"]) for row in rows if "2" in str(row["Attributes"])] == [{"a": "2'\\,\n{}:é\t\""}]
    assert sum(row["Increase"] for row in rows) == len(variants)


def test_points_without_a_value_and_what_is_no_number_are_left_out(tables: Database) -> None:
    insert_points(tables, [
        point(START_S + 1, 1, START_S), point(START_S + 2, 0, START_S, Flags=1), point(START_S + 3, 4, START_S),
    ])  # fmt: skip
    columns = "TimeUnix, StartTimeUnix, ServiceName, MetricName, Value, IsMonotonic, AggregationTemporality"
    tables.client.command(
        f"INSERT INTO {tables.name}.otel_metrics_sum ({columns})"
        f" SELECT {START_S + 4}, {START_S}, 'cart', 'hits', nan, 1, 2"
    )
    [row] = counter(tables, LENGTH_S)
    assert (row["Increase"], row["Points"]) == (4, 2)


def test_a_summary_is_two_counters_and_a_gauge_for_each_quantile(tables: Database) -> None:
    for minute, (count, total, start_s) in enumerate([(4, 10.0, START_S), (9, 25.0, START_S), (2, 3.0, START_S + 100)]):
        summary = {
            "TimeUnix": f"{START_S + minute * 60 + 5}", "StartTimeUnix": f"{start_s}", "ServiceName": "cart",
            "MetricName": "hits", "MetricUnit": "s", "Attributes": {"route": "/"}, "Count": count, "Sum": total,
            "ValueAtQuantiles.Quantile": [0.5, 0.99], "ValueAtQuantiles.Value": [1.0 + minute, 2.0 + minute],
        }  # fmt: skip
        insert(tables.client, "otel_metrics_summary", [summary], tables.name)
    for tier in ("1m", "1h"):
        for name, unit, increase in (("hits_count", "1", 9 + 2), ("hits_sum", "s", 25 + 3)):
            [row] = ask_windows(tables, f"counter_{tier}", name, LENGTH_S)
            found = (row["Increase"], row["Resets"], row["Unit"], dict(row["Attributes"]))
            assert found == (increase, 1, unit, {"route": "/"})
        rows = ask_windows(tables, f"gauge_{tier}", "hits", LENGTH_S)
        assert {dict(row["Attributes"])["quantile"]: (row["Lowest"], row["Latest"], row["Unit"]) for row in rows} == {
            "0.5": (1, 3, "s"), "0.99": (2, 4, "s"),
        }  # fmt: skip


def test_gauges_have_their_extremes_average_and_latest_in_each_window(tables: Database) -> None:
    source = random.Random(3)
    values = [(source.randrange(7_200_000), source.uniform(-5, 5)) for _ in range(400)]
    rows = [point(START_S + at_ms / 1000, value, 0) for at_ms, value in values]
    for start in range(0, len(rows), 100):
        insert_points(tables, rows[start : start + 100], "otel_metrics_gauge")
    for tier, step_s in (("1m", 60), ("1m", 900), ("1h", 3600)):
        found = ask_windows(tables, f"gauge_{tier}", "hits", step_s)
        expected: dict[int, list[tuple[int, float]]] = {}
        for at_ms, value in values:
            expected.setdefault(START_S + at_ms // 1000 // step_s * step_s, []).append((at_ms, value))
        assert {row["At"] for row in found} == set(expected)
        for row in found:
            inside = expected[row["At"]]
            numbers = [value for _, value in inside]
            assert (row["Lowest"], row["Highest"], row["Latest"]) == (min(numbers), max(numbers), max(inside)[1])
            assert row["Average"] == pytest.approx(sum(numbers) / len(numbers))


def test_the_exemplar_of_the_largest_value_leads_to_its_trace(tables: Database) -> None:
    insert_points(tables, [point(START_S + 1, 1, START_S, **EXEMPLARS)])
    insert_points(tables, [point(START_S + 2, 2, START_S)])
    for tier in ("1m", "1h"):
        [row] = counter(tables, LENGTH_S, tier=tier)
        assert row["ExemplarTraceId"] == "a" * 32
