"""Who calls whom, with databases, queues and hosts outside."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-service-map"
_sql = partial(read, "service_map")

BOARD = Board(
    UID,
    "Service map",
    "Calls between services, and to databases, queues and hosts outside: a second, and 95th percentile in ms.",
    [panels.datasource_variable()],
    [[panels.nodes("Service map", "A ring is red by the share of calls that failed.", _sql("nodes"), _sql("edges"))]],
)
