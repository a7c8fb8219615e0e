"""Dashboard files as the viewer reads them, and rows as what its panels show."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from dashboards.boards import frames
from dashboards.boards.file import provided, read
from dashboards.boards.units import text_of
from dashboards.files import BOARDS
from dashboards.grafana.macros import Range, expand
from dashboards.store import Frame
from tests.panels import panel

AT = [dt.datetime(2026, 1, 15, 10, minute, tzinfo=dt.UTC) for minute in range(3)]
OVER_S = (int(AT[0].timestamp()), int(AT[2].timestamp()) + 60)


def test_every_generated_dashboard_is_drawn_from_its_file() -> None:
    of_files = {board.uid: board for board in provided()}
    assert set(of_files) == {board.uid for board in BOARDS}
    for board in BOARDS:
        whole = json.loads(board.json())
        drawn = of_files[board.uid]
        assert [each.title for each in drawn.panels] == [each["title"] for each in whole["panels"]]
        assert all(each.queries for each in drawn.panels)
        assert {each.kind for each in drawn.panels} <= {
            "timeseries", "stat", "table", "heatmap", "logs", "traces", "nodeGraph",
        }  # fmt: skip


def test_what_an_address_says_reaches_the_store_as_text_only() -> None:
    """Addresses are anybody's: whatever a variable holds, the statement around it stays what it was."""
    plain, hostile = "cart", "x' OR 1=1 -- \\' ${service:raw} $__timeFilter("
    escaped = "'" + hostile.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\x24") + "'"
    several = 0
    for board in provided():
        names = [variable.name for variable in board.variables]
        statements = [sql for each in board.panels for sql in each.queries.values()]
        statements += [each.sql for each in board.variables if each.sql] + [sql for _, sql in board.marks]
        for sql in statements:
            made = [
                expand(sql, Range(0, 3600, 60, dict.fromkeys(names, value)))
                for value in (plain, hostile, [hostile] * 2)
            ]
            assert made[1] == made[0].replace("'cart'", escaped)
            assert made[2] == made[0].replace("'cart'", f"{escaped},{escaped}")
            several += made[0] != made[1]
    assert several >= 15


def test_lines_are_one_a_label_with_gaps_where_it_has_no_point() -> None:
    frame = Frame(["time", "version", "rate"], ["time", "text", "number"], [
        [AT[0], "1", 2.0], [AT[2], "1", 4.0], [AT[1], "2", 1.0], [AT[2], "2", float("nan")],
    ])  # fmt: skip
    chart, cut = frames.lines(panel(), frame, [("2", AT[1].timestamp())], OVER_S)
    assert not cut
    assert [(of["name"], [value for _, value in of["data"]]) for of in chart.options["series"]] == [
        ("1", [2.0, None, 4.0]),
        ("2", [None, 1.0, None]),
    ]
    assert chart.options["xAxis"] == {"min": OVER_S[0] * 1000, "max": OVER_S[1] * 1000}
    assert chart.options["marks"] == [{"name": "2", "xAxis": AT[1].timestamp() * 1000}]
    assert "1: latest 4/s, lowest 2/s, highest 4/s" in chart.label


def test_values_without_a_label_are_lines_by_their_columns() -> None:
    frame = Frame(["time", "p50", "p99"], ["time", "number", "number"], [[AT[0], 1e6, 2e9]])
    chart, _ = frames.lines(panel(unit="ns"), frame, (), OVER_S)
    assert chart.rows == [(OVER_S[0], ["1 ms", "2 s"])]
    assert chart.columns == ["p50", "p99"]


def test_of_too_many_lines_the_largest_are_drawn_and_it_is_said() -> None:
    rows = [[AT[0], f"s{number}", float(number)] for number in range(100)]
    chart, cut = frames.lines(panel(), Frame(["time", "of", "n"], ["time", "text", "number"], rows), {}, OVER_S)
    assert cut
    assert len(chart.columns) == frames.SERIES_MAX
    assert {"s99", "s60"} <= set(chart.columns)


def test_cells_have_units_and_links_that_cannot_leave_the_viewer() -> None:
    of = panel(
        "table",
        units={"P95": "ns", "Share": "percentunit"},
        links={
            "Service": "/d/sluiceway-service?var-service=${__value.raw}&${__url_time_range}",
            "Bad": "//evil.example/${__value.raw}",
            "Odd": "/d/x?var-a=${__data.fields.a}",
        },
    )
    frame = Frame(
        ["Service", "P95", "Share", "Bad", "Odd", "At", "Tags", "None"],
        ["text", "number", "number", "text", "text", "time", "other", "text"],
        [["a b&var-x=<i>", 2_500_000, 0.125, "x", "y", AT[0], {"k": "v"}, None]],
    )
    [row] = frames.table(of, frame, "from=now-1h&to=now").rows
    assert [cell.text for cell in row] == [
        "a b&var-x=<i>", "2.5 ms", "12.5 %", "x", "y", "2026-01-15 10:00:00", "k=v", "-",
    ]  # fmt: skip
    assert row[0].url == "/d/sluiceway-service?var-service=a%20b%26var-x%3D%3Ci%3E&from=now-1h&to=now"
    assert {cell.url for cell in row[1:]} == {""}


def test_a_heatmap_has_its_bounds_in_order_of_size_and_says_where_most_are() -> None:
    frame = Frame(["time", "le", "n"], ["time", "text", "number"], [[AT[0], "100", 5], [AT[1], "20", 7]])
    drawn = frames.heat(panel("heatmap", unit="ms", title="Durations"), frame)
    assert drawn.options["bounds"] == ["20 ms", "100 ms"]
    assert drawn.options["cells"] == [(0, 1, 5.0), (1, 0, 7.0)]
    assert "7 up to 20 ms" in drawn.label


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (1.5, "reqps", "1.5/s"),
        (0.25, "percentunit", "25 %"),
        (25, "percent", "25 %"),
        (0.5, "s", "500 ms"),
        (2048, "bytes", "2 KiB"),
        (1234, "short", "1,234"),
        (14.4, "none", "14.4"),
        (3, "a unit of tomorrow", "3"),
        (None, "s", "-"),
    ],
)
def test_numbers_are_written_in_grafanas_units(value: float | None, unit: str, shown: str) -> None:
    assert text_of(value, unit) == shown


def test_a_file_that_is_no_dashboard_is_refused() -> None:
    with pytest.raises(KeyError):
        read("{}")
