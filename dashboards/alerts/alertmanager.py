"""Alerts as an Alertmanager takes them: API v2, from version 0.20 on."""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import urllib3
from urllib3.exceptions import HTTPError

from dashboards.alerts.rule import Rule
from dashboards.alerts.state import NO_DATA, Labels
from dashboards.settings import AlertSettings

_TIMEOUT_S = 10.0
_FIELD = re.compile(r"\{(\w+)\}")
# How much before its start a link shows.
_BEFORE_S = 1800


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert at one moment. `ends_at_s` in the future: it fires, and is over then unless told of again."""

    rule: Rule
    labels: Labels
    value: float
    started_at_s: float
    ends_at_s: float
    trace: str = ""


class Alertmanager:
    """Posts to one Alertmanager; its clustering is its own business."""

    def __init__(self, settings: AlertSettings) -> None:
        self._settings = settings
        self._url = f"{(settings.alertmanager_url or '').rstrip('/')}/api/v2/alerts"
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(_TIMEOUT_S))

    def post(self, notices: Sequence[Notice]) -> str:
        """Post them all; why not, '' when it took them."""
        body = json.dumps([self._alert(notice) for notice in notices]).encode()
        try:
            answer = self._pool.request("POST", self._url, body=body, headers={"Content-Type": "application/json"})
        except HTTPError as error:
            return f"{self._url}: {' '.join(str(error).split())[:200]}"
        return (
            ""
            if answer.status == 200
            else f"{self._url}: {answer.status} {answer.data[:200].decode('utf-8', 'replace')}"
        )

    def _alert(self, notice: Notice) -> dict[str, Any]:
        rule, settings = notice.rule, self._settings
        labels = {name: value for name, value in notice.labels if value}
        # Without a service it is the platform's own.
        labels |= {"alertname": rule.title, "rule": rule.name, "severity": rule.severity, "owner": rule.owner}
        annotations = {
            "summary": _summary(rule, notice),
            "runbook_url": f"{settings.runbooks_url.rstrip('/')}/{rule.name}.md",
            "dashboard_url": self._link(labels.get("service"), notice),
        }
        if notice.trace:
            annotations["trace_url"] = f"{settings.link_url.rstrip('/')}/trace/{quote(notice.trace)}"
        return {
            "labels": labels,
            "annotations": annotations,
            "startsAt": _time(notice.started_at_s),
            "endsAt": _time(notice.ends_at_s),
            "generatorURL": annotations["dashboard_url"],
        }

    def _link(self, service: str | None, notice: Notice) -> str:
        page = f"service/{quote(service, safe='')}" if service else "pipeline"
        from_ms = int(notice.started_at_s - _BEFORE_S) * 1000
        return f"{self._settings.link_url.rstrip('/')}/{page}?from={from_ms}&to=now"


def _summary(rule: Rule, notice: Notice) -> str:
    if notice.labels == NO_DATA:
        return f"{rule.title}: the store does not answer, or has nothing to say."
    values = dict(notice.labels) | {"value": f"{notice.value:.4g}"}
    return _FIELD.sub(lambda match: values.get(match[1], "") or "(none)", rule.summary)


def _time(unix_s: float) -> str:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).isoformat(timespec="milliseconds")
