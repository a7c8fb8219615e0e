"""The panels that our dashboards are made of: one function for each kind, with what every panel of it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, heatmap, logs, nodegraph, stat, table, timeseries
from grafana_foundation_sdk.models.common import (
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue, VariableRefresh, VariableSort

from dashboards.grafana.clickhouse import DATASOURCE, PLUGIN, Format, Query
from dashboards.grafana.layout import Placed

Overrides = Mapping[str, Mapping[str, Any]]


def _common(panel: Any, title: str, description: str) -> Any:
    return panel.title(title).description(description).datasource(DATASOURCE)


def lines(
    title: str, description: str, sql: str, *, unit: str, width: int = 8, height: int = 8, stacked: bool = False
) -> Placed:
    """Time series: columns `time`, at most one label, values."""
    panel = _common(timeseries.Panel(), title, description).unit(unit).min(0).with_target(Query(sql))
    panel = panel.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
    ).tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(40)
    return Placed(panel, width, height)


def figure(title: str, description: str, sql: str, *, unit: str, width: int = 4, height: int = 4) -> Placed:
    """One number."""
    panel = _common(stat.Panel(), title, description).unit(unit).with_target(Query(sql, Format.TABLE))
    return Placed(panel, width, height)


def grid(
    title: str,
    description: str,
    sql: str,
    *,
    units: Mapping[str, str] | None = None,
    links: Mapping[str, str] | None = None,
    width: int = 24,
    height: int = 9,
) -> Placed:
    """A table. `units` by column; `links` by column: where a click goes, `${__value.raw}` stands for the cell."""
    panel = _common(table.Panel(), title, description).with_target(Query(sql, Format.TABLE))
    for column, unit in (units or {}).items():
        panel = panel.override_by_name(column, [DynamicConfigValue(id_val="unit", value=unit)])
    for column, url in (links or {}).items():
        link = {"title": "open", "url": url, "targetBlank": False}
        panel = panel.override_by_name(column, [DynamicConfigValue(id_val="links", value=[link])])
    return Placed(panel, width, height)


def buckets(title: str, description: str, sql: str, *, unit: str, width: int = 12, height: int = 9) -> Placed:
    """A heatmap: columns `time`, the bucket's upper bound as text, how many."""
    panel = _common(heatmap.Panel(), title, description).calculate(False).with_target(Query(sql))
    return Placed(panel.unit("short").y_axis(heatmap.YAxisConfig().unit(unit)), width, height)


def records(title: str, description: str, sql: str, *, width: int = 24, height: int = 12) -> Placed:
    """Log records: columns `timestamp`, `body`, `level`, ..."""
    panel = _common(logs.Panel(), title, description).show_time(True).wrap_log_message(True)
    return Placed(panel.with_target(Query(sql, Format.LOGS)), width, height)


def nodes(title: str, description: str, node_sql: str, edge_sql: str, *, width: int = 24, height: int = 20) -> Placed:
    """A graph: a frame of nodes and a frame of edges."""
    panel = _common(nodegraph.Panel(), title, description)
    panel = panel.with_target(Query(node_sql, Format.TABLE, "nodes")).with_target(
        Query(edge_sql, Format.TABLE, "edges")
    )
    return Placed(panel, width, height)


def waterfall(title: str, description: str, sql: str, *, width: int = 24, height: int = 20) -> Placed:
    """The spans of one trace. The SDK has no such panel."""
    panel = _common(dashboard.Panel().type("traces"), title, description).with_target(Query(sql, Format.TRACE))
    return Placed(panel, width, height)


def datasource_variable() -> Any:
    """Which ClickHouse: every panel goes through it."""
    return dashboard.DatasourceVariable("datasource").label("Data source").type(PLUGIN)


def query_variable(name: str, label: str, sql: str, *, with_all: bool = False) -> Any:
    """A choice among the values of a query, read again when the time range changes."""
    made = (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(DATASOURCE)
        .query({"refId": name, "queryType": "sql", "rawSql": sql})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
    return made.include_all(True).multi(True).all_value("") if with_all else made


def fixed_variable(name: str, value: str) -> Any:
    """Of one value that nobody chooses."""
    return dashboard.ConstantVariable(name).value(value)


def text_variable(name: str, label: str) -> Any:
    """Free text."""
    return dashboard.TextBoxVariable(name).label(label)


def marks(name: str, sql: str, *, color: str = "purple") -> Any:
    """Annotations: columns `time`, `title`, `text`, `tags`."""
    return (
        dashboard.AnnotationQuery()
        .name(name)
        .datasource(DATASOURCE)
        .enable(True)
        .icon_color(color)
        .target(Query(sql, Format.TABLE, "Anno"))
    )


def of_board(uid: str, variables: Sequence[str] = ()) -> str:
    """The address of another dashboard with the present time range, and variables `name=value`."""
    return "?".join((f"/d/{uid}", "&".join([*(f"var-{each}" for each in variables), "${__url_time_range}"])))
