"""What a receiver is told of an alert: its labels, its annotations, and whether it is over."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from dashboards.alerts.incident import Incident
from dashboards.alerts.routes import ESCALATION
from dashboards.alerts.rule import Rule
from dashboards.alerts.state import NO_DATA, Labels
from dashboards.settings import AlertSettings

_FIELD = re.compile(r"\{(\w+)\}")
# How much before its start a link shows.
_BEFORE_S = 1800
# FNV-1a, 64 bit.
_OFFSET, _PRIME, _MASK = 0xCBF29CE484222325, 0x100000001B3, 0xFFFFFFFFFFFFFFFF


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert at one moment. `ends_at_s` in the future: it fires, and is over then unless told of again."""

    incident: Incident
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    started_at_s: float
    ends_at_s: float
    over: bool

    @property
    def fingerprint(self) -> str:
        """What Alertmanager calls an alert with these labels by."""
        digest = _OFFSET
        for name, value in sorted(self.labels.items()):
            for byte in b"%b\xff%b\xff" % (name.encode(), value.encode("utf-8", "replace")):
                digest = (digest ^ byte) * _PRIME & _MASK
        return f"{digest:016x}"

    def posted(self) -> dict[str, Any]:
        """As Alertmanager's API v2 takes it."""
        return {
            "labels": dict(self.labels),
            "annotations": dict(self.annotations),
            "startsAt": _time(self.started_at_s),
            "endsAt": _time(self.ends_at_s),
            "generatorURL": self.annotations["dashboard_url"],
        }


def notice(rule: Rule, incident: Incident, settings: AlertSettings, *, ends_at_s: float, escalation: int = 0) -> Notice:
    """What is told of an incident at one of its levels of escalation, 0 for its own team."""
    annotations = {
        "summary": incident.summary,
        "incident": incident.id,
        "runbook_url": f"{settings.runbooks_url.rstrip('/')}/{rule.name}.md",
        "dashboard_url": f"{settings.link_url.rstrip('/')}{page_of(incident)}",
    }
    if incident.culprit:
        annotations["culprit"] = incident.culprit
    if incident.trace:
        annotations["trace_url"] = f"{settings.link_url.rstrip('/')}/trace/{quote(incident.trace)}"
    if escalation:
        annotations["escalated"] = f"nobody acknowledged it at {incident.team} in time"
    over = incident.restored_s is not None
    labels = labels_of(rule, incident.labels, escalation)
    return Notice(incident, labels, annotations, incident.detected_s, ends_at_s, over)


def labels_of(rule: Rule, labels: Labels, escalation: int = 0) -> dict[str, str]:
    """An alert's labels as they are routed by. Without a service it is the platform's own."""
    found = {name: value for name, value in labels if value}
    found |= {"alertname": rule.title, "rule": rule.name, "severity": rule.severity, "owner": rule.owner}
    return found | ({ESCALATION: str(escalation)} if escalation else {})


def page_of(incident: Incident) -> str:
    """The page of the viewer that shows an incident, from some time before it."""
    page, query = "/pipeline", {"from": int(incident.started_s - _BEFORE_S) * 1000, "to": "now"}
    if incident.service in (".", ".."):
        # A browser would fold these into the path.
        page, query = "/service", {"name": incident.service, **query}
    elif incident.service:
        page = f"/service/{quote(incident.service, safe='')}"
    return f"{page}?{urlencode(query)}"


def summary(rule: Rule, labels: Labels, value: float) -> str:
    """The rule's sentence, filled in."""
    if labels == NO_DATA:
        return f"{rule.title}: the store does not answer, or has nothing to say."
    values = dict(labels) | {"value": f"{value:.4g}"}
    return _FIELD.sub(lambda match: values.get(match[1], "") or "(none)", rule.summary)


def _time(unix_s: float) -> str:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).isoformat(timespec="milliseconds")
