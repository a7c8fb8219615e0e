"""A dashboard of one service, with what that service really sends and nothing else."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence

from dashboards.definitions import service as of_any
from dashboards.definitions.inventory import Inventory, Metric
from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import COLUMNS, Board, Placed
from dashboards.grafana.macros import text_literal

PREFIX = "sluiceway-service-"
# Of our own names, those with a hash at the end were made from an inventory.
OF_INVENTORY = re.compile(rf"{PREFIX}[a-z0-9-]*-[0-9a-f]{{6}}")
# A dashboard with more is a list: it is in the metrics dashboard.
METRICS_MAX = 40
_SLUG_MAX = 14
_WIDTH = 8
# Sections by prefixes of metric names, in this order; the last takes the rest.
_SECTIONS: Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]] = (
    ("HTTP", ("http.",), ()),
    ("RPC", ("rpc.",), ()),
    ("Databases", ("db.",), ("database",)),
    ("Messaging", ("messaging.",), ("queue", "delivery", "message")),
    ("Hosts outside", ("dns.", "tls."), ("host",)),
    ("Runtime", ("process.", "container.", "jvm.", "go.", "nodejs.", "v8js.", "dotnet.", "cpython.", "system."), ()),
    ("Its own", ("",), ()),
)
# UCUM, as instruments name it, to Grafana's names of units.
_UNITS: Mapping[str, str] = {
    "s": "s", "ms": "ms", "us": "µs", "ns": "ns", "By": "bytes", "1": "none", "%": "percent",
}  # fmt: skip
_PEERS = {"Rate": "reqps", "ErrorShare": "percentunit", "P95": "ns"}
_TRACE = panels.of_board("sluiceway-traces", ["trace=${__value.raw}"])


def uid_of(service: str) -> str:
    """The dashboard's: at most 40 characters, as Grafana allows, and another for every service."""
    slug = re.sub(r"[^a-z0-9]+", "-", service.lower()).strip("-")[:_SLUG_MAX].strip("-")
    return f"{PREFIX}{slug}-{hashlib.sha256(service.encode()).hexdigest()[:6]}"


def board(of: Inventory) -> Board:
    """The dashboard; equal inventories, equal files."""
    shown, left_out = of.metrics[:METRICS_MAX], of.metrics[METRICS_MAX:]
    more = f" Not shown: {', '.join(metric.name for metric in left_out)}." if left_out else ""
    environments = panels.query_variable("environment", "Environment", read("service", "environments"), with_all=True)
    rows = list(of_any.BOARD.rows) if of.spans else []
    return Board(
        uid_of(of.service),
        f"Service {of.service}",
        f"What {of.service} does and sends.{more}",
        [panels.datasource_variable(), panels.fixed_variable("service", of.service), environments],
        [*rows, *_sections(of.edges, shown)],
        of_any.BOARD.annotations if of.spans else (),
    )


def _sections(edges: Sequence[str], metrics: Sequence[Metric]) -> Iterator[list[Placed]]:
    left = list(metrics)
    for title, prefixes, kinds in _SECTIONS:
        mine = [metric for metric in left if metric.name.startswith(prefixes)]
        left = [metric for metric in left if metric not in mine]
        present = [kind for kind in kinds if kind in edges]
        if present:
            yield [_peers(title, present)]
        placed = [_metric(title, metric) for metric in mine]
        for first in range(0, len(placed), COLUMNS // _WIDTH):
            yield placed[first : first + COLUMNS // _WIDTH]


def _peers(title: str, kinds: Sequence[str]) -> Placed:
    sql = read("of_service", "peers").replace("{kinds}", ", ".join(text_literal(kind) for kind in kinds))
    text = f"With whom it speaks: {', '.join(kinds)}."
    return panels.grid(title, text, sql, units=_PEERS, links={"SlowTrace": _TRACE}, height=7)


def _metric(section: str, metric: Metric) -> Placed:
    name, unit = {
        "gauge": ("average", _unit(metric.unit)),
        "histogram": ("quantiles", _unit(metric.unit)),
        "exponential_histogram": ("exponential_quantiles", _unit(metric.unit)),
    }.get(metric.kind, ("rate", "cps") if metric.monotonic else ("average", _unit(metric.unit)))
    sql = read("metrics", name).replace("${metric:singlequote}", text_literal(metric.name))
    what = {"rate": "A second", "average": "Averaged"}.get(name, "Percentiles")
    return panels.lines(
        f"{section}: {metric.name}", f"{what}, unit {metric.unit or 'none'}.", sql, unit=unit, width=_WIDTH
    )


def _unit(ucum: str) -> str:
    return _UNITS.get(ucum, "short")
