"""Traces: the newest, and one as a waterfall."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-traces"
_sql = partial(read, "traces")

BOARD = Board(
    UID,
    "Traces",
    "The newest traces, and one of them span by span. Other dashboards link here with a trace id.",
    [
        panels.datasource_variable(),
        panels.query_variable("service", "Service", read("service", "names"), with_all=True),
        panels.text_variable("trace", "Trace id"),
    ],
    [
        [panels.waterfall("Trace", "The spans of the trace whose id is given above.", _sql("spans"))],
        [
            panels.grid(
                "Newest traces",
                "By their newest span that entered one of the services. A click opens one above.",
                _sql("search"),
                units={"duration": "ms"},
                links={"traceID": panels.of_board(UID, ["trace=${__value.raw}"])},
            )
        ],
    ],
)
