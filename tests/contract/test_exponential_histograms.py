"""Exponential histograms by minute and hour: held against buckets computed one observation at a time."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.rows_in_store import Database
from tests.series_in_store import CUMULATIVE, DELTA, EXEMPLARS, LENGTH_S, START_S, ask_windows
from tests.viewer_under_test import insert

QUANTILES = (-0.5, 0.0, 0.1, 0.5, 0.75, 0.99, 1.0, 1.5)


def bucket(value: float, scale: int, threshold: float) -> tuple[int, int]:
    """Sign and index of an observation: index i holds (base^i, base^(i+1)], with base 2^(2^-scale)."""
    if abs(value) <= threshold:
        return (0, 0)
    return (1 if value > 0 else -1, math.ceil(math.log2(abs(value)) * 2.0**scale) - 1)


def histogram(values: list[float], scale: int, threshold: float = 0.0) -> dict[tuple[int, int], int]:
    return dict(Counter(bucket(value, scale, threshold) for value in values))


def dense(counts: Mapping[tuple[int, int], int], sign: int) -> tuple[int, list[int]]:
    indexes = [index for side, index in counts if side == sign]
    if not indexes:
        return 0, []
    return min(indexes), [counts.get((sign, index), 0) for index in range(min(indexes), max(indexes) + 1)]


def point(at_s: float, values: list[float], scale: int, start_s: float, **columns: Any) -> dict[str, Any]:
    counts = histogram(values, scale, columns.get("ZeroThreshold", 0.0))
    (positive_from, positive), (negative_from, negative) = dense(counts, 1), dense(counts, -1)
    return {
        "TimeUnix": f"{at_s:.3f}000000",
        "StartTimeUnix": f"{start_s:.3f}000000" if start_s else "1970-01-01 00:00:00",
        "ServiceName": "cart",
        "MetricName": "duration",
        "Count": len(values),
        "Sum": sum(values),
        "Scale": scale,
        "ZeroCount": counts.get((0, 0), 0),
        "PositiveOffset": positive_from,
        "PositiveBucketCounts": positive,
        "NegativeOffset": negative_from,
        "NegativeBucketCounts": negative,
        "AggregationTemporality": CUMULATIVE,
        **columns,
    }


def add(tables: Database, *rows: dict[str, Any]) -> None:
    insert(tables.client, "otel_metrics_exponential_histogram", rows, tables.name)


def ask(tables: Database, view: str, step_s: int, more: str = "") -> list[dict[str, Any]]:
    return ask_windows(tables, f"exponential_histogram_{view}", "duration", step_s, more)


def counts_of(row: Mapping[str, Any]) -> dict[tuple[int, int], int]:
    sides = {(0, 0): int(row["ZeroCount"])} if row["ZeroCount"] else {}
    for sign, name in ((1, "Positive"), (-1, "Negative")):
        sides |= {(sign, int(index)): int(count) for index, count in dict(row[name]).items()}
    return sides


def quantile(counts: Mapping[tuple[int, int], int], scale: int, threshold: float, q: float) -> float:
    """Prometheus 3's rule, one bucket after the other from the lowest values to the highest."""
    if q < 0 or q > 1:
        return math.copysign(math.inf, q)
    if not counts:
        return math.nan
    signs = {sign for sign, _ in counts}
    rank, below = q * sum(counts.values()), 0
    for (sign, index), count in sorted(counts.items(), key=lambda each: (each[0][0], each[0][0] * each[0][1])):
        if below + count >= rank:
            share = (rank - below) / count
            if sign == 0:
                low, high = (0.0 if signs == {0, 1} else -threshold), (0.0 if signs == {-1, 0} else threshold)
                return low + (high - low) * share
            lower, upper = 2.0 ** (index / 2.0**scale), 2.0 ** ((index + 1) / 2.0**scale)
            near, far = (lower, upper) if sign > 0 else (upper, lower)
            return sign * near * (far / near) ** share
        below += count
    raise AssertionError


@dataclass(frozen=True, slots=True)
class Sample:
    """Everything that a run has observed so far, with the scale it had come to."""

    at_ms: int
    values: list[float]
    scale: int
    start_ms: int


def run(source: random.Random) -> list[Sample]:
    """A process that restarts now and then and gives up resolution as its range widens."""
    at_ms, start_ms = source.randrange(1, 20_000), -source.randrange(1, 10**6)
    scale, values = 6, [source.lognormvariate(0, 1)]
    samples = []
    while at_ms < LENGTH_S * 1000:
        samples.append(Sample(at_ms, list(values), scale, start_ms))
        step_ms = source.choice([30_000, 60_000, 90_000]) + source.randrange(1000)
        if source.random() < 0.05:
            step_ms += source.randrange(60_000, 600_000)
        at_ms += step_ms
        if source.random() < 0.08:
            start_ms, scale, values = at_ms - source.randrange(1, step_ms), 6, []
        scale -= source.random() < 0.1
        new = [source.lognormvariate(0, 2) * source.choice([1, 1, -1, 0]) for _ in range(source.randrange(12))]
        values = values + new
    return samples


def added_in_windows(samples: list[Sample], lookback_s: int, step_s: int) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for before, after in itertools.pairwise([None, *samples]):
        assert after is not None
        if before is None:
            new = after.values if after.start_ms >= -lookback_s * 1000 else []
        elif after.start_ms != before.start_ms:
            new = after.values
        else:
            new = after.values[len(before.values) :]
        found.setdefault(START_S + after.at_ms // 1000 // step_s * step_s, []).extend(new)
    return found


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("tier", "lookback_s", "step_s"), [("1m", 3600, 60), ("1h", 86400, 3600)])
def test_buckets_gain_what_was_observed_at_the_coarsest_scale_through_restarts_gaps_and_changes_of_scale(
    tables: Database, tier: str, lookback_s: int, step_s: int, seed: int
) -> None:
    source = random.Random(seed)
    samples = run(source)
    rows = [point(START_S + s.at_ms / 1000, s.values, s.scale, START_S + s.start_ms / 1000) for s in samples]
    source.shuffle(rows)
    for start in range(0, len(rows), 60):
        add(tables, *rows[start : start + 60])
    found = {row["At"]: row for row in ask(tables, tier, step_s)}
    windows = added_in_windows(samples, lookback_s, step_s)
    scale = min(row["Scale"] for row in found.values())
    assert scale >= min(s.scale for s in samples)
    assert {at: counts_of(row) for at, row in found.items()} == {
        at: histogram(values, scale) for at, values in windows.items()
    }
    assert all(row["Count"] == len(windows[at]) for at, row in found.items())
    assert all(row["Sum"] == pytest.approx(sum(windows[at]), abs=1e-6) for at, row in found.items())
    restarts = sum(a.start_ms != b.start_ms for a, b in itertools.pairwise(samples))
    assert sum(row["Resets"] for row in found.values()) == restarts
    for q in QUANTILES:
        for row in ask(tables, f"quantile_{tier}", step_s, f", q = {q}, by = []"):
            expected = quantile(histogram(windows[row["At"]], scale), scale, 0.0, q)
            assert float(row["Text"]) == pytest.approx(expected, rel=1e-9, nan_ok=True), (q, windows[row["At"]])


def test_series_of_several_scales_and_thresholds_are_added_up_at_the_coarsest(tables: Database) -> None:
    source = random.Random(5)
    values = [[source.lognormvariate(0, 1) for _ in range(200)] for _ in range(3)]
    add(
        tables,
        point(START_S + 1, values[0], 5, START_S, Attributes={"n": "a"}),
        point(START_S + 1, values[1], 3, START_S, Attributes={"n": "b"}),
        point(START_S + 1, values[2], 4, START_S, Attributes={"n": "c"}, ZeroThreshold=0.25),
    )
    together = list(itertools.chain(*values))
    for q in QUANTILES:
        [row] = ask(tables, "quantile_1m", LENGTH_S, f", q = {q}, by = []")
        # 0.25 is a bound at every scale above 0: the threshold swallows whole buckets.
        expected = quantile(histogram(together, 3, 0.25), 3, 0.25, q)
        assert float(row["Text"]) == pytest.approx(expected, rel=1e-9)
        assert (row["Scale"], row["Count"]) == (3, 600)


@pytest.mark.parametrize("others", [[], [4.0], [-4.0], [-4.0, 4.0]], ids=["alone", "above", "below", "both"])
def test_the_zero_bucket_is_on_the_side_where_the_others_are(tables: Database, others: list[float]) -> None:
    values = [0.1] * 6 + others
    add(tables, point(START_S + 1, values, 2, START_S, ZeroThreshold=0.5))
    for q in QUANTILES:
        [row] = ask(tables, "quantile_1m", LENGTH_S, f", q = {q}, by = []")
        assert float(row["Text"]) == pytest.approx(quantile(histogram(values, 2, 0.5), 2, 0.5, q), rel=1e-9)


def test_a_threshold_inside_a_bucket_takes_the_whole_bucket(tables: Database) -> None:
    # At scale 0 the values are in (2, 4] and (8, 16].
    add(tables, point(START_S + 1, [3.0, 9.0], 0, START_S, Attributes={"n": "a"}))
    add(tables, point(START_S + 1, [0.5, 0.5], 0, START_S, Attributes={"n": "b"}, ZeroThreshold=2.5))
    [row] = ask(tables, "quantile_1m", LENGTH_S, ", q = 0.75, by = []")
    assert row["Quantile"] == 4.0


def test_delta_histograms_of_different_scales_add_up_in_both_tiers(tables: Database) -> None:
    source = random.Random(9)
    everything: list[float] = []
    for n, scale in enumerate([4, 2, 5, 3, 2]):
        values = [source.gauss(0, 3) for _ in range(30)] + [0.0]
        everything += values
        add(tables, point(START_S + n * 20 + 1, values, scale, START_S + n * 20 - 19, AggregationTemporality=DELTA))
    for tier in ("1m", "1h"):
        [row] = ask(tables, tier, LENGTH_S)
        assert counts_of(row) == histogram(everything, 2)
        assert (row["Scale"], row["Count"], row["Resets"], row["Points"]) == (2, len(everything), 0, 5)
        assert row["Sum"] == pytest.approx(sum(everything))


def test_a_count_that_falls_without_a_new_start_time_was_reset(tables: Database) -> None:
    for minute, values in enumerate([[1.5] * 9, [1.5] * 10, [1.5, 6.0], [1.5, 6.0, -6.0]]):
        add(tables, point(START_S + minute * 60 + 5, values, 0, 0))
    [row] = ask(tables, "1m", LENGTH_S)
    assert (counts_of(row), row["Resets"]) == ({(1, 0): 2, (1, 2): 1, (-1, 2): 1}, 1)


def test_a_hostile_scale_or_offset_breaks_no_answer(tables: Database) -> None:
    extreme = 2**31 - 1
    add(tables, point(START_S + 1, [1.5, -1.5], 3, START_S))
    add(tables, point(START_S + 2, [1.5, -1.5, 3.0], 3, START_S, Scale=-extreme - 1, PositiveOffset=extreme))
    add(tables, point(START_S + 3, [1.5, -1.5, 3.0], 3, START_S, Scale=extreme, NegativeOffset=-extreme - 1))
    for view, more in (("1m", ""), ("1h", ""), ("quantile_1m", ", q = 0.5, by = []")):
        assert len(ask(tables, view, LENGTH_S, more)) == 1


def test_the_exemplar_of_the_largest_value_leads_to_its_trace(tables: Database) -> None:
    add(tables, point(START_S + 1, [1.0], 3, START_S, **EXEMPLARS))
    for tier in ("1m", "1h"):
        [row] = ask(tables, tier, LENGTH_S)
        assert row["ExemplarTraceId"] == "a" * 32
