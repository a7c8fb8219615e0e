"""An incident: one alert from the moment that its condition began to hold until it was over."""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from dashboards.alerts.rule import Rule, Severity
from dashboards.alerts.state import Labels


@dataclass(slots=True)
class Incident:
    """The record of an alert that fired. Times are Unix seconds; None has not been.

    Attributes:
        labels: the alert's own, as its rule's query answered them.
        team: who owns it; '' without an ownership file.
        value, peak: the latest, and the highest so far.
        started_s: when the condition began to hold.
        detected_s: when the alert fired.
        restored_s: when it resolved.
        escalation: to how many teams further it was passed on.
        trace: the id of a trace that shows it, or ''.
        culprit: what most likely is to blame, or ''.
        over_told: whether its receiver knows that it is over.
    """

    id: str
    rule: str
    labels: Labels
    severity: Severity
    owner: str
    team: str
    summary: str
    value: float
    peak: float
    started_s: float
    detected_s: float
    acknowledged_s: float | None = None
    acknowledged_by: str = ""
    restored_s: float | None = None
    escalation: int = 0
    trace: str = ""
    culprit: str = ""
    over_told: bool = False

    @classmethod
    def of(
        cls, rule: Rule, labels: Labels, *, value: float, started_s: float, detected_s: float, team: str, summary: str
    ) -> Incident:
        """The incident of an alert that fires now."""
        named = f"{rule.name} {labels} {detected_s}"
        return cls(
            # Short enough to be typed at night; made without the file of records, which may be away.
            hashlib.sha256(named.encode()).hexdigest()[:8],
            rule.name, labels, rule.severity, rule.owner, team, summary, value, value, started_s, detected_s,
        )  # fmt: skip

    @property
    def service(self) -> str:
        """The service that it is about; '' for the pipeline's own."""
        return dict(self.labels).get("service", "")

    @property
    def open(self) -> bool:
        """Whether it fires."""
        return self.restored_s is None

    @property
    def to_detect_s(self) -> float:
        """From the beginning of the condition to the alert."""
        return self.detected_s - self.started_s

    @property
    def to_acknowledge_s(self) -> float | None:
        """From the alert until somebody took it; None while nobody has."""
        return None if self.acknowledged_s is None else max(0.0, self.acknowledged_s - self.detected_s)

    @property
    def to_restore_s(self) -> float | None:
        """From the beginning of the condition, which is when users felt it, until it resolved."""
        return None if self.restored_s is None else self.restored_s - self.started_s

    def seen(self, value: float) -> bool:
        """Take a value; whether it is a new peak."""
        if math.isnan(value):
            return False
        self.value = value
        if value <= self.peak:
            return False
        self.peak = value
        return True


@dataclass(frozen=True, slots=True)
class Medians:
    """Median seconds to detect, acknowledge and restore; None where no incident has been."""

    detect_s: float | None
    acknowledge_s: float | None
    restore_s: float | None


def medians(incidents: Iterable[Incident]) -> Medians:
    """The medians of those that have been detected, acknowledged, restored."""
    found = list(incidents)

    def median(of: Callable[[Incident], float | None]) -> float | None:
        known = [seconds for incident in found if (seconds := of(incident)) is not None]
        return statistics.median(known) if known else None

    return Medians(
        median(lambda incident: incident.to_detect_s),
        median(lambda incident: incident.to_acknowledge_s),
        median(lambda incident: incident.to_restore_s),
    )
