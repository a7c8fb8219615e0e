"""One service: rate, errors, duration by version, its operations, what it depends on, and what it logs."""

from __future__ import annotations

from functools import partial

from dashboards.definitions.questions import read
from dashboards.grafana import panels
from dashboards.grafana.layout import Board

UID = "sluiceway-service"
_sql = partial(read, "service")
_trace = panels.of_board("sluiceway-traces", ["trace=${__value.raw}"])
_UNITS = {"Rate": "reqps", "ErrorShare": "percentunit", "P50": "ns", "P95": "ns", "P99": "ns"}

BOARD = Board(
    UID,
    "Service",
    "One service in an incident: is it slow or failing, since when, in which version and operation, and who else.",
    [
        panels.datasource_variable(),
        panels.query_variable("service", "Service", _sql("names")),
        panels.query_variable("environment", "Environment", _sql("environments"), with_all=True),
    ],
    [
        [
            panels.lines("Rate", "Calls into it a second, by version.", _sql("rate"), unit="reqps", stacked=True),
            panels.lines("Errors", "Share of calls that failed, by version.", _sql("errors"), unit="percentunit"),
            panels.lines("Latency", "Percentiles of all versions; within 5 %.", _sql("latency"), unit="ns"),
        ],
        [
            panels.buckets("Durations", "How many calls took how long.", _sql("durations"), unit="ms"),
            panels.grid(
                "Dependencies",
                "Whom it calls and who calls it. Minutes settle some seconds after their spans.",
                _sql("dependencies"),
                units=_UNITS,
                links={"SlowTrace": _trace},
                width=12,
            ),
        ],
        [
            panels.grid(
                "Operations",
                "By the time spent in them, each with its slowest trace and the slowest of those that failed.",
                _sql("operations"),
                units=_UNITS,
                links={"SlowTrace": _trace, "FailedTrace": _trace},
            )
        ],
        [
            panels.records(
                "Warnings and errors", "Its log records of severity WARN and above, newest first.", _sql("logs")
            )
        ],
    ],
    [panels.marks("Deployments", _sql("deployments"))],
)
