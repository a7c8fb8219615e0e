"""Histograms by minute and hour: what each bucket gained, exact, and quantiles as a real Prometheus computes them."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.real_parts import skip_where_missing
from tests.rows_in_store import Database
from tests.series_in_store import CUMULATIVE, DELTA, EXEMPLARS, LENGTH_S, START_S, ask_windows
from tests.testbed.prometheus import Prometheus
from tests.viewer_under_test import insert

BOUNDS = (0.005, 0.01, 0.1, 1.0, 5.0)
QUANTILES = (-1.0, 0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Sample:
    """A cumulative histogram: milliseconds after START_S, buckets, sum, and the begin of its run."""

    at_ms: int
    buckets: tuple[int, ...]
    sum: float
    start_ms: int


def point(at_s: float, buckets: tuple[int, ...], start_s: float, **columns: Any) -> dict[str, Any]:
    return {
        "TimeUnix": f"{at_s:.3f}000000",
        "StartTimeUnix": f"{start_s:.3f}000000" if start_s else "1970-01-01 00:00:00",
        "ServiceName": "cart",
        "MetricName": "duration",
        "MetricUnit": "s",
        "Count": sum(buckets),
        "Sum": 0.5 * sum(buckets),
        "BucketCounts": list(buckets),
        "ExplicitBounds": list(BOUNDS),
        "AggregationTemporality": CUMULATIVE,
        **columns,
    }


def run(source: random.Random) -> list[Sample]:
    """A process that restarts now and then; a run may overtake in some buckets what the one before had in them."""
    at_ms, start_ms = source.randrange(1, 20_000), -source.randrange(1, 10**6)
    buckets = tuple(source.randrange(5) for _ in range(6))
    samples = []
    while at_ms < LENGTH_S * 1000:
        samples.append(Sample(at_ms, buckets, 0.5 * sum(buckets), start_ms))
        step_ms = source.choice([15_000, 30_000, 60_000]) + source.randrange(1000)
        if source.random() < 0.03:
            step_ms += source.randrange(60_000, 600_000)
        at_ms += step_ms
        if source.random() < 0.05:
            start_ms = at_ms - source.randrange(1, step_ms)
            buckets = (0,) * 6
        buckets = tuple(count + source.choice([0, 0, 1, source.randrange(40)]) for count in buckets)
    return samples


def ask(tables: Database, view: str, step_s: int, more: str = "") -> list[dict[str, Any]]:
    return ask_windows(tables, view, "duration", step_s, more)


def gained(samples: list[Sample], lookback_s: int, step_s: int) -> dict[int, list[int]]:
    """What each bucket counted in each window, from the samples themselves."""
    found: dict[int, list[int]] = {}
    for before, after in itertools.pairwise([None, *samples]):
        assert after is not None
        if before is None:
            known = after.start_ms >= -lookback_s * 1000
            added = list(after.buckets) if known else [0] * 6
        elif after.start_ms != before.start_ms:
            added = list(after.buckets)
        else:
            added = [now - then for now, then in zip(after.buckets, before.buckets, strict=True)]
        window = found.setdefault(START_S + after.at_ms // 1000 // step_s * step_s, [0] * 6)
        window[:] = [sum(pair) for pair in zip(window, added, strict=True)]
    return found


def insert_runs(tables: Database, runs: dict[str, list[Sample]], source: random.Random) -> None:
    rows = [
        point(START_S + s.at_ms / 1000, s.buckets, START_S + s.start_ms / 1000, Attributes={"n": name, "zone": "a"})
        for name, samples in runs.items()
        for s in samples
    ]
    source.shuffle(rows)
    for start in range(0, len(rows), 200):
        insert(tables.client, "otel_metrics_histogram", rows[start : start + 200], tables.name)


@pytest.mark.parametrize(("tier", "lookback_s", "step_s"), [("1m", 3600, 60), ("1m", 3600, 600), ("1h", 86400, 3600)])
def test_every_bucket_gains_what_was_counted_and_quantiles_are_those_of_prometheus(
    tables: Database, tmp_path: Path, tier: str, lookback_s: int, step_s: int
) -> None:
    source = random.Random(step_s)
    runs = {f"s{n}": run(source) for n in range(4)}
    insert_runs(tables, runs, source)
    expected = {
        (at, name): buckets
        for name, samples in runs.items()
        for at, buckets in gained(samples, lookback_s, step_s).items()
    }
    found = {(row["At"], dict(row["Attributes"])["n"]): row for row in ask(tables, f"histogram_{tier}", step_s)}
    assert {key: list(row["Buckets"]) for key, row in found.items()} == expected
    assert all(row["Count"] == sum(row["Buckets"]) and row["Sum"] == 0.5 * row["Count"] for row in found.values())
    assert all(row["Rate"] == pytest.approx(row["Count"] / step_s) for row in found.values())
    restarts = sum(a.start_ms != b.start_ms for samples in runs.values() for a, b in itertools.pairwise(samples))
    assert sum(row["Resets"] for row in found.values()) == restarts > 0

    # A real Prometheus is asked about the buckets themselves; what they gained is held exactly above.
    lines = ["# TYPE gained gauge"]
    for name in runs:
        for index, bound in enumerate((*BOUNDS, "+Inf")):
            lines += [
                f'gained_bucket{{n="{name}",le="{bound}"}} {sum(buckets[: index + 1])} {at}'
                for (at, series), buckets in sorted(expected.items())
                if series == name
            ]
    windows = sorted({at for at, _ in expected})[:: 1 if step_s > 60 else 12]
    with skip_where_missing(), Prometheus(tmp_path, "\n".join([*lines, "# EOF", ""])) as prometheus:
        for q in QUANTILES:
            ours = {
                (row["At"], dict(row["Labels"])["n"]): float(row["Text"])
                for row in ask(tables, f"histogram_quantile_{tier}", step_s, f", q = {q}, by = ['n']")
            }
            for at in windows:
                theirs = prometheus.query(f"histogram_quantile({q}, gained_bucket)", at)
                values = {(at, each["metric"]["n"]): float(each["value"][1]) for each in theirs}
                for key in {key for key in expected if key[0] == at}:
                    assert ours[key] == pytest.approx(values[key], rel=1e-12, nan_ok=True), (q, key, expected[key])


def test_quantiles_over_several_series_are_those_of_their_added_buckets(tables: Database) -> None:
    insert(tables.client, "otel_metrics_histogram", [
        point(START_S + 1, (0, 0, 10, 0, 0, 0), START_S, Attributes={"n": "a", "zone": "x"}),
        point(START_S + 2, (0, 0, 0, 10, 0, 0), START_S, Attributes={"n": "b", "zone": "x"}),
        point(START_S + 2, (0, 0, 0, 0, 0, 4), START_S, Attributes={"n": "c", "zone": "y"}),
    ], tables.name)  # fmt: skip
    rows = ask(tables, "histogram_quantile_1m", LENGTH_S, ", q = 0.75, by = ['zone']")
    assert {dict(row["Labels"])["zone"]: (row["Quantile"], row["Count"]) for row in rows} == {
        "x": (pytest.approx(0.1 + 0.9 / 2), 20), "y": (5.0, 4),
    }  # fmt: skip
    [row] = ask(tables, "histogram_quantile_1m", LENGTH_S, ", q = 1, by = []")
    assert (row["Quantile"], row["Count"]) == (5.0, 24)


def test_delta_histograms_add_up_in_both_tiers(tables: Database) -> None:
    for n in (0, 1, 30, 31):
        insert(tables.client, "otel_metrics_histogram", [
            point(START_S + n * 60 + 1, (n, 1, 0, 0, 0, 2), START_S + n * 60 - 59, AggregationTemporality=DELTA),
        ], tables.name)  # fmt: skip
    for tier in ("1m", "1h"):
        [row] = ask(tables, f"histogram_{tier}", LENGTH_S)
        assert list(row["Buckets"]) == [62, 4, 0, 0, 0, 8]
        assert (row["Count"], row["Sum"], row["Resets"], row["Points"]) == (74, 37, 0, 4)


def test_a_count_that_falls_without_a_new_start_time_was_reset(tables: Database) -> None:
    for minute, buckets in enumerate([(9, 0, 0, 0, 0, 0), (10, 0, 0, 0, 0, 0), (1, 2, 0, 0, 0, 0), (1, 3, 0, 0, 0, 0)]):
        rows = [point(START_S + minute * 60 + 5, buckets, 0)]
        insert(tables.client, "otel_metrics_histogram", rows, tables.name)
    [row] = ask(tables, "histogram_1m", LENGTH_S)
    assert (list(row["Buckets"]), row["Resets"]) == ([1 + 1, 2 + 1, 0, 0, 0, 0], 1)


def test_other_bounds_are_another_series_and_no_buckets_have_no_quantile(tables: Database) -> None:
    insert(tables.client, "otel_metrics_histogram", [
        point(START_S + 1, (1, 1, 1, 1, 1, 1), START_S),
        point(START_S + 2, (3, 4), START_S, ExplicitBounds=[2.0]),
        point(START_S + 3, (), START_S, ExplicitBounds=[], Count=5, Sum=7.5),
        # No recorded value.
        point(START_S + 4, (0, 0, 0, 0, 0, 0), START_S, Flags=1),
    ], tables.name)  # fmt: skip
    rows = ask(tables, "histogram_quantile_1m", LENGTH_S, ", q = 0.5, by = []")
    found = {len(row["Bounds"]): (row["Quantile"], row["Count"], row["Sum"]) for row in rows}
    assert found[5] == (0.1, 6, 3)
    assert found[1] == (2.0, 7, 3.5)
    assert found[0][0] is None
    assert found[0][1:] == (5, 7.5)


def test_the_exemplar_of_the_largest_value_leads_to_its_trace(tables: Database) -> None:
    rows = [point(START_S + 1, (1, 0, 0, 0, 0, 0), START_S, **EXEMPLARS)]
    insert(tables.client, "otel_metrics_histogram", rows, tables.name)
    for tier in ("1m", "1h"):
        [row] = ask(tables, f"histogram_{tier}", LENGTH_S)
        assert row["ExemplarTraceId"] == "a" * 32
