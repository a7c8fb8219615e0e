"""What each service sends, asked of the store: from which a dashboard of its own is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dashboards.definitions.questions import read

# Services and metrics that were silent for longer have no dashboard.
PERIOD_S = 7 * 86_400
# (SQL, parameters) to rows by column.
Ask = Callable[[str, Mapping[str, Any]], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a service: OTLP's kind, UCUM unit."""

    name: str
    kind: str
    unit: str
    monotonic: bool


@dataclass(frozen=True, slots=True)
class Inventory:
    """One service. `edges` are kinds of calls that it has part in, as the service map names them."""

    service: str
    spans: bool
    edges: Sequence[str]
    metrics: Sequence[Metric]


def inventories(ask: Ask, now_s: int) -> list[Inventory]:
    """Every service of the last days, by name."""
    period = {"from_s": now_s - PERIOD_S, "to_s": now_s + 60}
    spans = {row["service"] for row in ask(read("of_service", "services"), period)}
    edges = {row["service"]: tuple(row["kinds"]) for row in ask(read("of_service", "edges"), period)}
    metrics: dict[str, list[Metric]] = {}
    for row in ask(read("of_service", "metrics"), period):
        found = Metric(row["metric"], row["kind"], row["unit"], bool(row["monotonic"]))
        metrics.setdefault(row["service"], []).append(found)
    return [
        Inventory(service, service in spans, edges.get(service, ()), metrics.get(service, ()))
        for service in sorted(spans | metrics.keys())
    ]
