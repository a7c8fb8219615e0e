"""Numbers as the viewer writes them."""

from __future__ import annotations

import pytest

from dashboards.viewer import charts, figures


@pytest.mark.parametrize(
    ("ns", "text"),
    [(None, "-"), (0, "0 ns"), (999, "999 ns"), (1500, "1.5 µs"), (12_345_678, "12.3 ms"), (999_600_000, "1 s"),
     (90e9, "1.5 min"), (7200e9, "2 h")],
)  # fmt: skip
def test_a_duration_has_three_digits_and_the_unit_that_fits(ns: float | None, text: str) -> None:
    assert text == figures.duration(ns)


@pytest.mark.parametrize(
    ("ratio", "text"),
    [(0, "0 %"), (1e-6, "<0.01 %"), (0.00394, "0.39 %"), (0.2345, "23.4 %"), (0.999999, ">99.99 %"), (1, "100 %")],
)  # fmt: skip
def test_a_share_never_rounds_failure_away(ratio: float, text: str) -> None:
    assert text == figures.share(ratio)


def test_a_count_is_never_rounded() -> None:
    assert figures.count(1_234_567) == "1,234,567"


@pytest.mark.parametrize(
    ("per_s", "text"), [(0, "0/s"), (0.0001, "<0.001/s"), (0.25, "0.25/s"), (12_345.6, "12,346/s")]
)
def test_a_rate_is_not_shown_as_zero_while_there_are_calls(per_s: float, text: str) -> None:
    assert text == figures.rate(per_s)


def test_bytes_are_in_binary_units() -> None:
    assert figures.size(1.5 * 1024 * 1024) == "1.5 MiB"


def test_a_time_keeps_its_microseconds() -> None:
    assert figures.clock_ns(1_765_987_200_000_042_000) == "16:00:00.000042"


def test_a_sparkline_breaks_at_gaps_and_says_its_numbers() -> None:
    line = charts.sparkline("Rate", [1.0, 2.0, None, 4.0], "rate")
    assert len(line.lines) == 1
    assert line.dots == [(118.0, 2.0)]
    assert line.label == "Rate: latest 4/s, lowest 1/s, highest 4/s"


def test_a_sparkline_of_nothing_says_so() -> None:
    line = charts.sparkline("Rate", [None, None], "rate")
    assert (line.lines, line.dots, line.label) == ([], [], "Rate: no data")


def test_a_chart_has_every_known_point_in_its_table_and_the_extremes_in_its_label() -> None:
    chart = charts.chart(
        "k",
        "Latency",
        "duration",
        [0, 60, 120],
        {"p50": ("calm", [None, None, 1e6]), "p99": ("warn", [5e6, None, 9e6])},
    )
    assert chart.rows == [(0, ["-", "5 ms"]), (120, ["1 ms", "9 ms"])]
    assert (
        chart.label
        == "Latency. p50: latest 1 ms, lowest 1 ms, highest 1 ms; p99: latest 9 ms, lowest 5 ms, highest 9 ms."
    )
