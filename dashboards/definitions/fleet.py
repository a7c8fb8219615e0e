"""All services side by side: who is slow, who fails, what was deployed."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-fleet"
_sql = partial(read, "fleet")
_service = panels.of_board("sluiceway-service", ["service=${__value.raw}"])
_trace = panels.of_board("sluiceway-traces", ["trace=${__value.raw}"])

BOARD = Board(
    UID,
    "Fleet",
    "Every service with its rate, errors and latency. Calls into a service count: its server and consumer spans.",
    [panels.datasource_variable()],
    [
        [
            panels.figure("Services seen", "Services that sent spans.", _sql("services_count"), unit="short"),
            panels.figure("Calls", "Calls into all services, a second.", _sql("calls_rate"), unit="reqps"),
            panels.figure("Failing", "Share of calls that failed.", _sql("error_share"), unit="percentunit"),
        ],
        [
            panels.grid(
                "Services",
                "The worst first. A click on a service opens it; on a trace id, that trace.",
                _sql("services"),
                units={"Rate": "reqps", "ErrorShare": "percentunit", "P50": "ns", "P95": "ns", "P99": "ns"},
                links={"Service": _service, "SlowTrace": _trace, "FailedTrace": _trace},
                height=12,
            )
        ],
        [
            panels.lines("Rate", "Calls a second, by service.", _sql("rate"), unit="reqps"),
            panels.lines("Errors", "Share of calls that failed, by service.", _sql("errors"), unit="percentunit"),
            panels.lines("Latency", "95th percentile, by service; within 5 %.", _sql("p95"), unit="ns"),
        ],
    ],
    [panels.marks("Deployments", _sql("deployments"))],
)
