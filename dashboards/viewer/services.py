"""The first page: every service with its rate, errors and latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.viewer.charts import Sparkline, sparkline
from dashboards.viewer.red import ServiceRed


@dataclass(frozen=True, slots=True)
class ServiceRow:
    """A service and its three sparklines."""

    red: ServiceRed
    rate: Sparkline
    errors: Sparkline
    latency: Sparkline


def rows(found: Sequence[ServiceRed]) -> list[ServiceRow]:
    """A row a service, in the order given."""
    return [
        ServiceRow(
            red,
            sparkline("Rate", red.series.rate, "rate"),
            # An error share is drawn against at least a tenth, so that one failed call does not look like an outage.
            sparkline("Errors", red.series.errors, "share", ceiling=0.1),
            sparkline("p95", red.series.p95, "duration"),
        )
        for red in found
    ]
