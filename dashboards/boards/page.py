"""One dashboard over a time range: its variables one after the other, then all panels side by side."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from dashboards.boards import frames
from dashboards.boards.file import ALL, BoardFile, Panel, Variable
from dashboards.grafana.macros import MacroError, Range, expand
from dashboards.settings import ViewerSettings
from dashboards.store import Frame, StoreReader
from dashboards.viewer import trace
from dashboards.viewer.charts import Chart, Marks
from dashboards.viewer.window import Window
from schemas.errors import OverloadedError, StoreUnavailableError

_log = logging.getLogger(__name__)

# A variable's values: more are typed, not chosen.
_OPTIONS_MAX = 1000
_PREFIX = "var-"
_MARKS_MAX = 50


@dataclass(frozen=True, slots=True)
class Choice:
    """A variable as it is shown: its options (value, whether chosen) and its text."""

    variable: Variable
    options: Sequence[tuple[str, bool]]
    text: str
    every: bool


@dataclass(frozen=True, slots=True)
class Shown:
    """A panel with what was found: one of them, or why not."""

    panel: Panel
    chart: Chart | None = None
    table: frames.Table | None = None
    drawing: frames.Drawing | None = None
    figure: str = ""
    trace: trace.Trace | None = None
    empty: bool = False
    cut: bool = False
    problem: str = ""


@dataclass(frozen=True, slots=True)
class View:
    """All that a dashboard's page shows. `kept` are the variables as parameters of an address."""

    board: BoardFile
    choices: Sequence[Choice]
    panels: Sequence[Shown]
    kept: Sequence[tuple[str, str]] = field(default_factory=list)
    problem: str = ""


async def read(
    store: StoreReader, board: BoardFile, window: Window, asked: Mapping[str, Sequence[str]], settings: ViewerSettings
) -> View:
    """The dashboard; `asked` are the parameters of the address. What fails in one panel stays in that panel."""
    over = Range(window.from_s, min(window.to_s, int(window.now_s)), window.step_s)
    variables: dict[str, str | Sequence[str]] = {}
    choices, problem = [], ""
    for variable in board.variables:
        of_it = Range(over.from_s, over.to_s, over.interval_s, variables)
        try:
            choice, value = await _chosen(store, board, variable, of_it, asked.get(f"{_PREFIX}{variable.name}", ()))
        except (StoreUnavailableError, OverloadedError, MacroError) as error:
            choice, value, problem = Choice(variable, [], "", every=True), "", str(error)
        if variable.fixed is None:
            choices.append(choice)
        variables[variable.name] = value
    over = Range(over.from_s, over.to_s, over.interval_s, variables)
    kept = [
        (f"{_PREFIX}{name}", each)
        for name, value in variables.items()
        for each in ([value] if isinstance(value, str) else value)
        if each
    ]
    time_range = urlencode({"from": window.from_text, "to": window.to_text})
    marks = await _marks(store, board, over)
    shown = await asyncio.gather(
        *(_shown(store, board, panel, over, marks, time_range, settings) for panel in board.panels)
    )
    return View(board, choices, shown, kept, problem)


async def _chosen(
    store: StoreReader, board: BoardFile, variable: Variable, over: Range, asked: Sequence[str]
) -> tuple[Choice, str | Sequence[str]]:
    if variable.fixed is not None:
        return Choice(variable, [], variable.fixed, every=False), variable.fixed
    wanted = [value[:500] for value in asked if value and value != ALL]
    if not variable.sql:
        text = wanted[0] if wanted else ""
        return Choice(variable, [], text, every=not text), text
    frame = await _found(store, board, variable.name, variable.sql, over)
    # The last column is the value, as in Grafana; one that was asked for stays a choice.
    found = [str(row[-1]) for row in frame.rows[:_OPTIONS_MAX]]
    options = [*found, *(value for value in wanted if value not in found)]
    if not variable.several:
        value = wanted[0] if wanted else (options[0] if options else "")
        return Choice(variable, [(each, each == value) for each in options], value, every=False), value
    return Choice(variable, [(each, each in wanted) for each in options], "", every=not wanted), wanted or ""


async def _found(store: StoreReader, board: BoardFile, name: str, sql: str, over: Range) -> Frame:
    """What a dashboard's query finds. Values of variables come from addresses: in all of them they are quoted text."""
    return await store.frame(f"{board.uid}/{name}", expand(sql, over, text_only=True))


async def _marks(store: StoreReader, board: BoardFile, over: Range) -> Marks:
    marks: list[tuple[str, float]] = []
    for name, sql in board.marks:
        try:
            frame = await _found(store, board, name, sql, over)
        except (StoreUnavailableError, OverloadedError, MacroError):
            # They explain; without them the figures are the same.
            continue
        marks += [
            (str(row.get("title") or name), row["time"].timestamp())
            for row in frame.dicts()[:_MARKS_MAX]
            if isinstance(row.get("time"), dt.datetime)
        ]
    return marks


async def _shown(
    store: StoreReader, board: BoardFile, panel: Panel, over: Range, marks: Marks, time_range: str,
    settings: ViewerSettings,
) -> Shown:  # fmt: skip
    try:
        if panel.kind == "traces":
            return await _trace(store, panel, over, settings)
        found = await asyncio.gather(*(_found(store, board, panel.title, sql, over) for sql in panel.queries.values()))
    except (StoreUnavailableError, OverloadedError, MacroError) as error:
        return Shown(panel, problem=str(error))
    if not any(frame.rows for frame in found):
        return Shown(panel, empty=True)
    of_queries = dict(zip(panel.queries, found, strict=True))
    try:
        return _drawn(panel, of_queries, marks, time_range, (over.from_s, over.to_s))
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        # A frame unlike what its panel takes, whatever it lacks, costs this panel alone.
        _log.exception("panel %r of %s", panel.title, board.uid)
        return Shown(panel, problem=f"The rows found do not fit a {panel.kind} panel: {error!r}")


def _drawn(panel: Panel, found: Mapping[str, Frame], marks: Marks, time_range: str, over_s: tuple[int, int]) -> Shown:
    first = next(iter(found.values()))
    match panel.kind:
        case "timeseries":
            chart, cut = frames.lines(panel, first, marks, over_s)
            return Shown(panel, chart=chart, cut=cut)
        case "stat":
            return Shown(panel, figure=frames.figure(panel, first))
        case "heatmap":
            return Shown(panel, drawing=frames.heat(panel, first))
        case "nodeGraph":
            return Shown(panel, drawing=frames.graph(panel, found["nodes"], found["edges"], time_range))
    shown = frames.table(panel, first, time_range)
    return Shown(panel, table=shown, cut=shown.cut)


async def _trace(store: StoreReader, panel: Panel, over: Range, settings: ViewerSettings) -> Shown:
    """The trace whose id the panel's query is given: the viewer's own waterfall, which has its log records too."""
    asked = str(over.variables.get("trace", "")).strip().lower()
    if not trace.TRACE_ID.fullmatch(asked):
        return Shown(panel, empty=True)
    found = await trace.read(store, asked, limit=settings.spans_limit)
    return Shown(panel, trace=found, empty=found is None)
