"""Series of metrics: who has how many, and whose were folded by a budget."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-cardinality"
_sql = partial(read, "cardinality")

BOARD = Board(
    UID,
    "Cardinality",
    "Attribute sets of metrics by the hour in which they came, and data points folded because a budget was spent.",
    [panels.datasource_variable()],
    [
        [
            panels.lines("Series", "Attribute sets of an hour, by service.", _sql("series"), unit="short", width=12),
            panels.lines("Folded", "Data points of an hour without their attributes.", _sql("folded"), unit="short",
                         width=12),
        ],
        [panels.grid("Metrics", "Folded ones first, then by series.", _sql("metrics"), height=14)],
    ],
    since="now-24h",
)  # fmt: skip
