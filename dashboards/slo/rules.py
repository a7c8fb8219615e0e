"""Objectives as alert rules: one that pages, one for tickets, whatever the number of objectives."""

from __future__ import annotations

from collections.abc import Sequence

from dashboards.alerts.rule import Rule
from dashboards.slo.burn_rates import DAY_S, HOUR_S
from dashboards.slo.objective import Objective, query

_SUMMARY = (
    "{service} burns the error budget of {slo} {value} times as fast as {burn_window} allows ({indicator};"
    " {environment})."
)


def burn_rules(objectives: Sequence[Objective]) -> list[Rule]:
    """The rules; none without objectives."""
    if not objectives:
        return []
    return [
        Rule(
            name="slo-burn-page",
            title="Error budget burns fast",
            severity="page",
            owner="service",
            summary=_SUMMARY,
            above=1,
            resolves_below=0.9,
            range_s=6 * HOUR_S,
            every_s=60,
            for_s=0,
            keep_firing_s=300,
            board="sluiceway-slo",
            panel="Burn rate",
            sql=query("burn", objectives, "page"),
            trace_of="slo-burn",
        ),
        Rule(
            name="slo-burn-ticket",
            title="Error budget burns",
            severity="ticket",
            owner="service",
            summary=_SUMMARY,
            above=1,
            resolves_below=0.9,
            range_s=3 * DAY_S,
            every_s=900,
            for_s=0,
            keep_firing_s=1800,
            board="sluiceway-slo",
            panel="Burn rate",
            sql=query("burn", objectives, "ticket"),
            trace_of="slo-burn",
        ),
    ]
