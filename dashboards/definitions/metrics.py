"""Any metric of a service: as a rate, as values, as percentiles, whatever its kind allows."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-metrics"
_sql = partial(read, "metrics")

BOARD = Board(
    UID,
    "Metrics",
    "One metric of one service. Only panels of its kind have data: sums rates and values, histograms percentiles.",
    [
        panels.datasource_variable(),
        panels.query_variable("service", "Service", _sql("services")),
        panels.query_variable("metric", "Metric", _sql("names")),
    ],
    [
        [
            panels.lines("Rate", "Of a sum, a second, by attributes.", _sql("rate"), unit="short", width=12),
            panels.lines("Value", "Of a gauge or a sum, averaged.", _sql("average"), unit="short", width=12),
        ],
        [
            panels.lines("Percentiles", "Of a histogram with bounds.", _sql("quantiles"), unit="short", width=12),
            panels.lines(
                "Percentiles (exponential)", "Of an exponential one.", _sql("exponential_quantiles"), unit="short",
                width=12,
            ),
        ],
        [panels.grid("Metrics of the service", "All that it sent, with kind and unit.", _sql("about"))],
    ],
)  # fmt: skip
