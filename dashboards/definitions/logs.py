"""Log records: how many of which severity, and the newest that hold a text."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-logs"
_sql = partial(read, "logs")

BOARD = Board(
    UID,
    "Logs",
    "Log records by severity, and the newest with a word or a text in their body. One word uses the index.",
    [
        panels.datasource_variable(),
        panels.query_variable("service", "Service", _sql("services"), with_all=True),
        panels.text_variable("search", "Text"),
    ],
    [
        [
            panels.lines(
                "Volume", "Records of each severity, whatever the text is.", _sql("volume"), unit="short", width=24,
                stacked=True,
            )
        ],
        [panels.records("Records", "The newest first.", _sql("records"), height=18)],
    ],
)  # fmt: skip
