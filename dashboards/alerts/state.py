"""What becomes of a rule's answers over time: pending, firing, kept firing, resolved. Pure: the clock is an argument.

As Grafana evaluates its managed rules: `for` counts from the first evaluation that holds; an alert that has fired
resolves below its own bound, after `keep_firing_s`; a row that is missing three times in a row is resolved.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dashboards.alerts.rule import Rule

Labels = tuple[tuple[str, str], ...]
State = Literal["pending", "firing"]
# Grafana's `missing_series_evals_to_resolve`.
MISSING_EVALUATIONS = 3
# The alert of a rule whose query has no rows, or fails.
NO_DATA: Labels = (("no_data", "true"),)


@dataclass(frozen=True, slots=True)
class Change:
    """An alert began to fire, or resolved; its condition holds since `started_s`."""

    at_s: float
    labels: Labels
    became: Literal["firing", "resolved"]
    value: float
    started_s: float


@dataclass(frozen=True, slots=True)
class Pending:
    """An alert whose condition holds, not yet long enough to fire."""

    labels: Labels
    value: float
    started_s: float


@dataclass(slots=True)
class _Alert:
    state: State
    started_s: float
    value: float
    below_since_s: float | None = None
    missing: int = 0


@dataclass(slots=True)
class Alerts:
    """The alerts of one rule."""

    rule: Rule
    _alerts: dict[Labels, _Alert] = field(default_factory=dict)

    def evaluated(self, at_s: float, rows: Mapping[Labels, float] | None) -> list[Change]:
        """Take an answer, in order of time; None where the query failed. Returns what changed."""
        means = self.rule.on_error if rows is None else self.rule.on_no_rows if not rows else None
        if rows is None and means == "ok":
            # The last state is kept: a store that restarts must not resolve a page.
            return []
        if means == "alerting":
            rows = {NO_DATA: float("inf")}
        rows = dict(rows or {})
        changes = [change for labels, value in rows.items() for change in self._seen(at_s, labels, value)]
        for labels in [labels for labels in self._alerts if labels not in rows]:
            changes += self._missed(at_s, labels)
        return changes

    @property
    def firing(self) -> dict[Labels, float]:
        """The alerts that fire now, and their latest values."""
        return {labels: alert.value for labels, alert in self._alerts.items() if alert.state == "firing"}

    @property
    def pending(self) -> list[Pending]:
        """The alerts that may fire soon."""
        return [
            Pending(labels, alert.value, alert.started_s)
            for labels, alert in self._alerts.items()
            if alert.state == "pending"
        ]

    def recall(self, labels: Labels, value: float, started_s: float, state: State = "firing") -> None:
        """Go on with an alert of before this process began, as if it had been evaluated all the time."""
        if state == "firing" or labels not in self._alerts:
            self._alerts[labels] = _Alert(state, started_s, value)

    def _seen(self, at_s: float, labels: Labels, value: float) -> list[Change]:
        rule, alert = self.rule, self._alerts.get(labels)
        if alert is None:
            # Not `<=`: what is no number is not above anything, as Grafana has it.
            if not value > rule.above:
                return []
            alert = self._alerts[labels] = _Alert("pending", at_s, value)
        alert.value, alert.missing = value, 0
        if alert.state == "pending":
            if not value > rule.above:
                del self._alerts[labels]
                return []
            if at_s - alert.started_s >= rule.for_s:
                alert.state = "firing"
                return [Change(at_s, labels, "firing", value, alert.started_s)]
            return []
        if not value < rule.resolves_below:
            alert.below_since_s = None
            return []
        if alert.below_since_s is None:
            alert.below_since_s = at_s
        return self._resolved(at_s, labels) if at_s - alert.below_since_s >= rule.keep_firing_s else []

    def _missed(self, at_s: float, labels: Labels) -> list[Change]:
        alert = self._alerts[labels]
        alert.missing += 1
        if alert.state == "pending":
            del self._alerts[labels]
            return []
        return self._resolved(at_s, labels) if alert.missing >= MISSING_EVALUATIONS else []

    def _resolved(self, at_s: float, labels: Labels) -> list[Change]:
        alert = self._alerts.pop(labels)
        return [Change(at_s, labels, "resolved", alert.value, alert.started_s)]
