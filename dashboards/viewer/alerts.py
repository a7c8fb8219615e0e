"""The page of alerts: what fires, what may soon, every rule with its state, and incidents with their times."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dashboards.alerts.durations import duration_s
from dashboards.alerts.evaluate import RuleState
from dashboards.alerts.incident import Incident, Medians, medians
from dashboards.alerts.incidents import IncidentFile
from dashboards.alerts.rule import Rule
from dashboards.alerts.rules import RULES
from dashboards.alerts.state import Pending
from schemas.errors import RecordsUnavailableError

SINCE: dict[str, str] = {"1d": "1 day", "7d": "7 days", "30d": "30 days", "90d": "90 days"}
DEFAULT_SINCE = "7d"
_SHOWN_AT_MOST = 500


@dataclass(frozen=True, slots=True)
class Alerting:
    """What the viewer must be told of alerts, as it reads the store only. The wiring makes it.

    Attributes:
        states: every rule as of now, from any thread; None where this process evaluates none.
        records: the file of incidents; None where there can be none.
        runbooks_url: where people find the runbooks.
    """

    states: Callable[[], Sequence[RuleState]] | None = None
    records: Path | None = None
    runbooks_url: str = ""

    def firing(self) -> int:
        """How many alerts fire now."""
        return sum(len(state.firing) for state in self.states()) if self.states is not None else 0

    def runbook(self, rule: str) -> str:
        """The address of a rule's runbook; '' where it is none that a browser can open."""
        base = self.runbooks_url.rstrip("/")
        return f"{base}/{rule}.md" if base.startswith(("http://", "https://")) else ""


@dataclass(frozen=True, slots=True)
class AlertsView:
    """What the page shows. `problem` says why incidents are missing."""

    evaluated: bool
    states: Sequence[RuleState]
    incidents: Sequence[Incident]
    medians: Medians
    since: str
    problem: str
    limit: int = _SHOWN_AT_MOST

    @property
    def firing(self) -> list[tuple[Rule, Incident]]:
        """Alerts that fire, pages first, the latest first."""
        found = [(state.rule, incident) for state in self.states for incident in state.firing]
        return sorted(found, key=lambda of: (of[0].severity, -of[1].detected_s))

    @property
    def pending(self) -> list[tuple[Rule, Pending]]:
        """Alerts whose condition holds, not yet long enough."""
        return [(state.rule, pending) for state in self.states for pending in state.pending]


async def read(alerting: Alerting, since: str) -> AlertsView:
    """The alerts of now, and the incidents of a while back."""
    since = since if since in SINCE else DEFAULT_SINCE
    states = alerting.states() if alerting.states is not None else [_unknown(rule) for rule in RULES]
    incidents: list[Incident] = []
    problem = ""
    try:
        incidents = await asyncio.to_thread(_incidents, alerting.records, time.time() - duration_s(since))
    except RecordsUnavailableError as error:
        problem = str(error)
    return AlertsView(alerting.states is not None, states, incidents, medians(incidents), since, problem)


def _incidents(file: Path | None, since_s: float) -> list[Incident]:
    if file is None or not file.is_file():
        return []
    with IncidentFile(file) as records:
        return records.since(since_s, _SHOWN_AT_MOST)


def _unknown(rule: Rule) -> RuleState:
    return RuleState(rule, None, False, (), ())
