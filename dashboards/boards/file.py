"""A dashboard file as Grafana reads it, as far as the viewer draws it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

# What an `All` stands for in an address, as in Grafana's.
ALL = "$__all"


@dataclass(frozen=True, slots=True)
class Variable:
    """A choice above the panels. Without `sql` it is free text; `several` allows more than one value, and all.

    `fixed` is the value of one that nobody chooses.
    """

    name: str
    label: str
    sql: str
    several: bool
    fixed: str | None = None


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel.

    Attributes:
        kind: Grafana's type, such as `timeseries`.
        width: columns of 24; `first` begins a row.
        queries: SQL by refId.
        unit: Grafana's name of the unit of its values; `units` that of columns.
        links: where a cell of a column leads, with Grafana's placeholders.
    """

    number: int
    kind: str
    title: str
    description: str
    width: int
    first: bool
    queries: Mapping[str, str]
    unit: str
    units: Mapping[str, str]
    links: Mapping[str, str]
    stacked: bool


@dataclass(frozen=True, slots=True)
class BoardFile:
    """One dashboard. `marks` are its annotations: name and SQL."""

    uid: str
    title: str
    description: str
    since: str
    variables: Sequence[Variable]
    panels: Sequence[Panel]
    marks: Sequence[tuple[str, str]]


def read(text: str) -> BoardFile:
    """The dashboard in a file's text.

    Raises:
        ValueError: not JSON.
        KeyError: it lacks what every dashboard has.
    """
    found = json.loads(text)
    return BoardFile(
        uid=found["uid"],
        title=found["title"],
        description=found.get("description", ""),
        since=found.get("time", {}).get("from", "now-1h"),
        variables=[
            _variable(each)
            for each in found.get("templating", {}).get("list", [])
            if each["type"] in ("query", "textbox", "constant")
        ],
        panels=[_panel(each) for each in found["panels"]],
        marks=[
            (each["name"], each["target"]["rawSql"])
            for each in found.get("annotations", {}).get("list", [])
            if each.get("enable") and "rawSql" in each.get("target", {})
        ],
    )


def provided() -> list[BoardFile]:
    """The dashboards that are generated with the program, as files: to draw them, the SDK that made them is not loaded.

    That of objectives is not among them, as it is made of somebody's.
    """
    folder = resources.files("dashboards").joinpath("generated")
    found = [read(file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".json")]
    return sorted((board for board in found if board.uid != "sluiceway-slo"), key=lambda board: board.title)


def _variable(found: Mapping[str, Any]) -> Variable:
    query = found.get("query")
    return Variable(
        found["name"],
        found.get("label") or found["name"],
        query["rawSql"] if isinstance(query, Mapping) and found["type"] == "query" else "",
        bool(found.get("includeAll")),
        str(query) if found["type"] == "constant" else None,
    )


def _panel(found: Mapping[str, Any]) -> Panel:
    config = found.get("fieldConfig", {})
    units, links = {}, {}
    for override in config.get("overrides", []):
        column = override["matcher"]["options"]
        for each in override["properties"]:
            if each["id"] == "unit":
                units[column] = each["value"]
            elif each["id"] == "links" and each["value"]:
                links[column] = each["value"][0]["url"]
    place, defaults = found["gridPos"], config.get("defaults", {})
    heat_unit = found.get("options", {}).get("yAxis", {}).get("unit")
    return Panel(
        number=found["id"],
        kind=found["type"],
        title=found.get("title", ""),
        description=found.get("description", ""),
        width=place["w"],
        first=place["x"] == 0,
        queries={target["refId"]: target["rawSql"] for target in found.get("targets", []) if target.get("rawSql")},
        unit=heat_unit or defaults.get("unit", "short"),
        units=units,
        links=links,
        stacked=defaults.get("custom", {}).get("stacking", {}).get("mode") == "normal",
    )
