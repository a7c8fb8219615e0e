"""Objectives: what is left of their error budgets, and how fast they burn. Made of the objectives themselves."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.grafana import panels
from dashboards.grafana.layout import Board
from dashboards.slo.objective import Objective, query

UID = "sluiceway-slo"
_service = panels.of_board("sluiceway-service", ["service=${__value.raw}"])


def board(objectives: Sequence[Objective]) -> Board:
    """The dashboard; its queries hold the objectives, as a file has nowhere else to keep them."""
    return Board(
        UID,
        "SLOs and error budgets",
        "Service level objectives, the budgets of their rolling periods, and how fast they burn.",
        [panels.datasource_variable()],
        [
            [
                panels.grid(
                    "Error budgets",
                    "The emptiest first. A budget is the share of bad calls that the target leaves over its period.",
                    query("budgets", objectives),
                    units={
                        "Target": "percentunit",
                        "Good": "percentunit",
                        "BudgetLeft": "percentunit",
                        "BurnRate": "none",
                        "Calls": "short",
                        "BadCalls": "short",
                    },
                    links={"Service": _service},
                    height=10,
                )
            ],
            [
                panels.lines(
                    "Burn rate",
                    "1 spends a budget exactly at the end of its period; 14.4 in an hour pages.",
                    query("burning", objectives),
                    unit="none",
                    width=12,
                ),
                panels.lines(
                    "Good calls",
                    "Share of calls that are good.",
                    query("good", objectives),
                    unit="percentunit",
                    width=12,
                ),
            ],
        ],
        since="now-6h",
    )
