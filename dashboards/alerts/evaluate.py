"""Evaluates the rules against the store, and tells an Alertmanager what fires: the embedded target of the rules."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from dashboards.alerts.alertmanager import Alertmanager, Notice
from dashboards.alerts.rule import Rule
from dashboards.alerts.state import Alerts, Labels
from dashboards.grafana.macros import Range, expand
from dashboards.settings import AlertSettings
from schemas.errors import SluicewayError
from schemas.telemetry import counter, observe

_log = logging.getLogger(__name__)
_TICK_S = 1.0
# An alert that is not told of again for so many intervals is over for its receiver: this process may have died.
_INTERVALS_UNTIL_OVER = 4
_QUERY_TIMEOUT_S = 20
_firing: dict[str, int] = {}


@dataclass(slots=True)
class _Watched:
    alerts: Alerts
    due_s: float = 0.0
    fired_at_s: dict[Labels, float] = field(default_factory=dict)
    traces: dict[Labels, str] = field(default_factory=dict)


class Evaluator:
    """Runs until `stop`. What fails is tried again at the next turn.

    Args:
        connect: opens a client that may only read.
        settings: where notices go, and how often.
        rules: what to evaluate.
        clock: Unix seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        settings: AlertSettings,
        rules: Sequence[Rule],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._settings = settings
        self._clock = clock
        self._client: Client | None = None
        self._watched = [_Watched(Alerts(rule)) for rule in rules]
        self._receiver = Alertmanager(settings)
        self._waiting: dict[tuple[str, Labels], Notice] = {}
        self._told_at_s = 0.0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._evaluations = counter("sluiceway_alerts_evaluations_total")
        self._notices = counter("sluiceway_alerts_notices_total")

    def start(self) -> None:
        """Begin, once the schema is there."""
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; alerts that fire are over for their receiver some minutes later, or told of by the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self.turn()
        if self._client is not None:
            self._client.close()

    def turn(self) -> None:
        """Evaluate the rules that are due, and tell what changed or is due to be told again."""
        now_s = self._clock()
        changed = False
        for watched in self._watched:
            if now_s >= watched.due_s:
                watched.due_s = now_s + watched.alerts.rule.every_s
                changed |= self._evaluate(watched, now_s)
        _firing.update({watched.alerts.rule.severity: 0 for watched in self._watched})
        for watched in self._watched:
            _firing[watched.alerts.rule.severity] += len(watched.alerts.firing)
        if changed or now_s - self._told_at_s >= self._settings.resend_s:
            self._tell(now_s)

    def _evaluate(self, watched: _Watched, now_s: float) -> bool:
        rule = watched.alerts.rule
        rows = self._answer(rule, now_s)
        self._evaluations.add(1, {"rule": rule.name, "outcome": "failed" if rows is None else "answered"})
        changes = watched.alerts.evaluated(now_s, rows)
        for change in changes:
            _log.warning("alert %s %s %s: %s", rule.name, change.became, dict(change.labels), change.value)
            if change.became == "firing":
                watched.fired_at_s[change.labels] = now_s
                watched.traces[change.labels] = self._trace(rule, dict(change.labels), now_s)
            else:
                started_s = watched.fired_at_s.pop(change.labels, now_s)
                trace = watched.traces.pop(change.labels, "")
                # Kept until it was told: annotations too, or the page loses its runbook when it resolves.
                self._waiting[rule.name, change.labels] = Notice(
                    rule, change.labels, change.value, started_s, now_s, trace
                )
        return bool(changes)

    def _answer(self, rule: Rule, now_s: float) -> dict[Labels, float] | None:
        over = Range(int(now_s) - rule.range_s, int(now_s))
        found = self._ask(expand(rule.query, over, in_alert=True))
        if found is None:
            return None
        names, rows = found
        return {
            tuple((name, str(value)) for name, value in zip(names[:-1], row[:-1], strict=True)): float(row[-1])
            for row in rows
        }

    def _trace(self, rule: Rule, labels: Mapping[str, str], now_s: float) -> str:
        if rule.trace_query is None:
            return ""
        over = Range(int(now_s) - rule.range_s, int(now_s), variables=labels)
        found = self._ask(expand(rule.trace_query, over))
        return str(found[1][0][0]) if found and found[1] else ""

    def _ask(self, sql: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]] | None:
        try:
            if self._client is None:
                self._client = self._connect()
            found = self._client.query(sql, settings={"max_execution_time": _QUERY_TIMEOUT_S})
        except (ClickHouseError, HTTPError, OSError, SluicewayError) as error:
            _log.warning("an alert rule got no answer: %s", " ".join(str(error).split())[:300])
            client, self._client = self._client, None
            if client is not None:
                client.close()
            return None
        return found.column_names, found.result_rows

    def _tell(self, now_s: float) -> None:
        self._told_at_s = now_s
        notices = [*self._waiting.values(), *self._firing_notices(now_s)]
        if not notices:
            return
        failure = self._receiver.post(notices)
        self._notices.add(len(notices), {"outcome": "failed" if failure else "posted"})
        if failure:
            _log.warning("alerts were not told, and are again in %d s: %s", self._settings.resend_s, failure)
        else:
            self._waiting.clear()

    def _firing_notices(self, now_s: float) -> Iterable[Notice]:
        for watched in self._watched:
            rule = watched.alerts.rule
            until_s = now_s + _INTERVALS_UNTIL_OVER * max(rule.every_s, self._settings.resend_s)
            for labels, value in watched.alerts.firing.items():
                trace = watched.traces.get(labels, "")
                yield Notice(rule, labels, value, watched.fired_at_s.get(labels, now_s), until_s, trace)


def _observed() -> Iterable[tuple[float, dict[str, str]]]:
    return [(count, {"severity": severity}) for severity, count in list(_firing.items())]


observe("sluiceway_alerts_firing", _observed)
