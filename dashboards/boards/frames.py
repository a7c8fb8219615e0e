"""Rows of a query as what a panel shows: lines, a table, a heatmap, log records, a graph."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from dashboards.boards.file import Panel
from dashboards.boards.units import text_of, unit_of
from dashboards.store import Frame
from dashboards.viewer import figures
from dashboards.viewer.charts import Chart, Marks, Values, chart

COLOURS = 8
# More lines than these tell nobody anything, and make a page slow.
SERIES_MAX = 40
ROWS_MAX = 500
_PLACEHOLDER = re.compile(r"\$\{(\w+(?:\.\w+)*)\}")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table. `url` is '' where it leads nowhere."""

    text: str
    url: str = ""
    number: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Columns with whether they hold numbers, rows of cells, and whether there were more."""

    columns: Sequence[tuple[str, bool]]
    rows: Sequence[Sequence[Cell]]
    cut: bool


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture that the browser draws from `options`, with its text and its table."""

    kind: str
    unit: str
    options: Mapping[str, Any]
    label: str
    tables: Sequence[tuple[str, Table]]


def lines(panel: Panel, frame: Frame, marks: Marks, over_s: tuple[int, int]) -> tuple[Chart, bool]:
    """Time series: a column of times, at most one of labels, values. The chart, and whether lines were left out."""
    unit, factor = unit_of(panel.unit)
    labels = [place for place, kind in enumerate(frame.kinds) if kind == "text"]
    values = [place for place, kind in enumerate(frame.kinds) if kind == "number"]
    times = sorted({_unix_s(row[0]) for row in frame.rows})
    place_of = {at: place for place, at in enumerate(times)}
    series: dict[str, list[float | None]] = {}
    for row in frame.rows:
        label = " ".join(str(row[place]) or "(none)" for place in labels)
        for column in values:
            name = " ".join(filter(None, (label, frame.names[column] if not labels or len(values) > 1 else "")))
            of = series.setdefault(name, [None] * len(times))
            of[place_of[_unix_s(row[0])]] = _number(row[column], factor)
    shown = dict(sorted(series.items(), key=lambda each: -_weight(each[1]))[:SERIES_MAX])
    coloured: dict[str, tuple[str, Values]] = {
        name: (f"c{number % COLOURS}", shown[name]) for number, name in enumerate(sorted(shown))
    }
    made = chart(
        f"panel-{panel.number}", panel.title, unit, times, coloured, marks=marks, stacked=panel.stacked, over_s=over_s
    )
    return made, len(series) > len(shown)


def table(panel: Panel, frame: Frame, time_range: str) -> Table:
    """Rows with units and links."""
    columns = [(name, kind == "number") for name, kind in zip(frame.names, frame.kinds, strict=True)]
    rows = [
        [_cell(panel, name, value, time_range) for name, value in zip(frame.names, row, strict=True)]
        for row in frame.rows[:ROWS_MAX]
    ]
    return Table(columns, rows, len(frame.rows) > ROWS_MAX)


def figure(panel: Panel, frame: Frame) -> str:
    """One number."""
    value = next((value for value in reversed(frame.rows[-1])), None) if frame.rows else None
    return text_of(_number(value, 1), panel.unit)


def heat(panel: Panel, frame: Frame) -> Drawing:
    """Columns: time, the bucket's upper bound as text, how many."""
    unit, _ = unit_of(panel.unit)
    times = sorted({_unix_s(row[0]) for row in frame.rows})
    bounds = sorted({float(row[1]) for row in frame.rows})
    cells = [(times.index(_unix_s(row[0])), bounds.index(float(row[1])), float(row[2])) for row in frame.rows]
    names = [text_of(bound, panel.unit) for bound in bounds]
    most = max(cells, key=lambda cell: cell[2], default=None)
    label = f"{panel.title}. " + (
        f"Most in one cell: {most[2]:g} up to {names[most[1]]} at {figures.moment(times[most[0]])}."
        if most
        else "no data"
    )
    per_bound = {bound: sum(cell[2] for cell in cells if cell[1] == place) for place, bound in enumerate(bounds)}
    shown = Table(
        [("Up to", True), ("How many", True)],
        [
            [Cell(text_of(bound, panel.unit), number=True), Cell(f"{per_bound[bound]:g}", number=True)]
            for bound in bounds
        ],
        cut=False,
    )
    options = {"times": [at * 1000 for at in times], "bounds": names, "cells": cells, "most": most[2] if most else 1}
    return Drawing("heat", unit, options, label, [(f"{panel.title} by bound", shown)])


def graph(panel: Panel, nodes: Frame, edges: Frame, time_range: str) -> Drawing:
    """A frame of nodes (id, title, mainstat, ..., arc__failed) and one of edges (source, target, mainstat, ...)."""
    of_nodes, of_edges = nodes.dicts(), edges.dicts()
    drawn = [
        {
            "id": str(node["id"]),
            "name": str(node.get("title") or node["id"]),
            "stat": _stat(node),
            "failed": float(node.get("arc__failed") or 0),
        }
        for node in of_nodes
    ]
    arrows = [{"source": str(edge["source"]), "target": str(edge["target"]), "stat": _stat(edge)} for edge in of_edges]
    tables = [("Nodes", table(panel, nodes, time_range)), ("Edges", table(panel, edges, time_range))]
    label = f"{panel.title}: {len(drawn)} nodes, {len(arrows)} edges; both are in the tables below."
    return Drawing("graph", "plain", {"nodes": drawn, "edges": arrows}, label, tables)


def _stat(row: Mapping[str, Any]) -> str:
    return ", ".join(str(row[name]) for name in ("mainstat", "secondarystat") if row.get(name) not in (None, ""))


def _cell(panel: Panel, column: str, value: Any, time_range: str) -> Cell:
    if value is None or value == "":
        return Cell(figures.NONE)
    if isinstance(value, dt.datetime | dt.date):
        return Cell(figures.moment(_unix_s(value)))
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    number = isinstance(value, int | float)
    text = text_of(_number(value, 1), panel.units.get(column, "short")) if number else _text(value)
    return Cell(text, _link(panel.links.get(column, ""), str(value), time_range), number)


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name}={each}" for name, each in value.items())
    return ", ".join(str(each) for each in value) if isinstance(value, list | tuple) else str(value)


def _link(url: str, value: str, time_range: str) -> str:
    """The address; '' where it has a placeholder that is not known, or leads elsewhere."""
    known = {"__value.raw": quote(value, safe=""), "__url_time_range": time_range}
    if not url.startswith("/") or url.startswith("//") or set(_PLACEHOLDER.findall(url)) - known.keys():
        return ""
    return _PLACEHOLDER.sub(lambda match: known[match[1]], url)


def _number(value: Any, factor: float) -> float | None:
    if value is None or isinstance(value, str):
        return None
    number = float(value) * factor
    return number if math.isfinite(number) else None


def _weight(values: Values) -> float:
    return sum(abs(value) for value in values if value is not None)


def _unix_s(value: Any) -> int:
    if isinstance(value, dt.datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp())
    if isinstance(value, dt.date):
        return int(dt.datetime(value.year, value.month, value.day, tzinfo=dt.UTC).timestamp())
    return int(value)
