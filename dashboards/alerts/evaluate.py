"""Evaluates the rules against the store: the embedded target of the rules."""

from __future__ import annotations

import copy
import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from dashboards.alerts.incident import Incident
from dashboards.alerts.incidents import IncidentFile, PendingOf
from dashboards.alerts.owners import Owners
from dashboards.alerts.response import Response
from dashboards.alerts.rule import Rule
from dashboards.alerts.state import NO_DATA, Alerts, Labels, Pending
from dashboards.grafana.macros import Range, expand
from dashboards.settings import AlertSettings
from schemas import store_error
from schemas.errors import SluicewayError
from schemas.telemetry import counter, observe

_log = logging.getLogger(__name__)
_TICK_S = 1.0
_QUERY_TIMEOUT_S = 20
_firing: dict[str, int] = {}


@dataclass(frozen=True, slots=True)
class RuleState:
    """A rule at one moment. `evaluated_s` is None before its first evaluation; `answered` whether the store did."""

    rule: Rule
    evaluated_s: float | None
    answered: bool
    pending: tuple[Pending, ...]
    firing: tuple[Incident, ...]


@dataclass(slots=True)
class _Watched:
    alerts: Alerts
    due_s: float = 0.0
    evaluated_s: float | None = None
    answered: bool = False


class Evaluator:
    """Runs until `stop`. What fails is tried again at the next turn.

    Args:
        connect: opens a client that may only read.
        settings: where notices go, and how often.
        rules: what to evaluate.
        records: where incidents are kept.
        owners: who answers for what; None escalates nothing.
        clock: Unix seconds.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        settings: AlertSettings,
        rules: Sequence[Rule],
        records: IncidentFile,
        owners: Owners | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._client: Client | None = None
        self._watched = {rule.name: _Watched(Alerts(rule)) for rule in rules}
        self._records = records
        self._response = Response(settings, {rule.name: rule for rule in rules}, records, owners)
        self._states: tuple[RuleState, ...] = ()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="alerts", daemon=True)
        self._evaluations = counter("sluiceway_alerts_evaluations_total")
        self._publish()

    @property
    def states(self) -> tuple[RuleState, ...]:
        """Every rule at the end of the latest turn; from any thread."""
        return self._states

    def start(self) -> None:
        """Begin, once the schema is there."""
        for watched in self._watched.values():
            if watched.alerts.rule.on_no_rows == "alerting":
                # Of the time before its start, a pipeline must not say that it stores nothing.
                watched.due_s = self._clock() + watched.alerts.rule.above
        self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """End; alerts that fire are over for their receiver some minutes later, or told of by the next start."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stopping.wait(_TICK_S):
            try:
                self.turn()
            except Exception:  # noqa: BLE001  a thread that ended silently would look like a system that is well
                _log.exception("alert rules were not evaluated, and are again")
        if self._client is not None:
            self._client.close()
        self._records.close()

    def turn(self) -> None:
        """Evaluate the rules that are due, and do what follows."""
        now_s = self._clock()
        self._recall(now_s)
        changed = False
        for watched in self._watched.values():
            if now_s >= watched.due_s:
                watched.due_s = now_s + watched.alerts.rule.every_s
                changed |= self._evaluate(watched, now_s)
        pending = [
            PendingOf(name, pending, watched.evaluated_s or now_s)
            for name, watched in self._watched.items()
            for pending in watched.alerts.pending
        ]
        self._response.turn(now_s, changed=changed, pending=pending)
        self._publish()

    def _recall(self, now_s: float) -> None:
        incidents, pending = self._response.recall(now_s)
        for incident in incidents:
            self._watched[incident.rule].alerts.recall(incident.labels, incident.value, incident.started_s)
        for of in pending:
            self._watched[of.rule].alerts.recall(of.pending.labels, of.pending.value, of.pending.started_s, "pending")

    def _publish(self) -> None:
        firing: dict[str, list[Incident]] = {}
        for incident in self._response.open:
            firing.setdefault(incident.rule, []).append(copy.copy(incident))
        self._states = tuple(
            RuleState(
                watched.alerts.rule, watched.evaluated_s, watched.answered,
                tuple(watched.alerts.pending), tuple(firing.get(name, ())),
            )
            for name, watched in self._watched.items()
        )  # fmt: skip
        counts: dict[str, int] = dict.fromkeys((state.rule.severity for state in self._states), 0)
        for state in self._states:
            counts[state.rule.severity] += len(state.firing)
        _firing.update(counts)

    def _evaluate(self, watched: _Watched, now_s: float) -> bool:
        rule = watched.alerts.rule
        rows = self._answer(rule, now_s)
        watched.evaluated_s, watched.answered = now_s, rows is not None
        self._evaluations.add(1, {"rule": rule.name, "outcome": "answered" if watched.answered else "failed"})
        changes = watched.alerts.evaluated(now_s, rows)
        for change in changes:
            _log.warning("alert %s %s %s: %s", rule.name, change.became, dict(change.labels), change.value)
            if change.became == "firing":
                of = dict(change.labels)
                trace = self._explained(rule, rule.trace_query, of, now_s)
                self._response.fired(rule, change, trace, self._explained(rule, rule.culprit_query, of, now_s))
            else:
                self._response.resolved(rule, change)
        for labels, value in watched.alerts.firing.items():
            self._response.seen(rule, labels, value)
        return bool(changes)

    def _answer(self, rule: Rule, now_s: float) -> dict[Labels, float] | None:
        over = Range(int(now_s) - rule.range_s, int(now_s))
        found = self._ask(expand(rule.query, over, in_alert=True))
        if found is None:
            return None
        names, rows = found
        return {
            tuple((name, str(value)) for name, value in zip(names[:-1], row[:-1], strict=True)): _number(row[-1])
            for row in rows
        }

    def _explained(self, rule: Rule, query: str | None, labels: Mapping[str, str], now_s: float) -> str:
        if query is None or labels == dict(NO_DATA):
            return ""
        over = Range(int(now_s) - rule.range_s, int(now_s), variables=labels)
        found = self._ask(expand(query, over))
        return str(found[1][0][0]) if found and found[1] else ""

    def _ask(self, sql: str) -> tuple[Sequence[str], Sequence[Sequence[Any]]] | None:
        try:
            if self._client is None:
                self._client = self._connect()
            found = self._client.query(sql, settings={"max_execution_time": _QUERY_TIMEOUT_S})
        except (ClickHouseError, HTTPError, OSError, SluicewayError) as error:
            _log.warning(
                "an alert rule got no answer: %s",
                store_error.refusal(str(error)) or store_error.without_origin(str(error)),
            )
            client, self._client = self._client, None
            if client is not None:
                client.close()
            return None
        return found.column_names, found.result_rows


def _number(value: Any) -> float:
    # An average of nothing: not above anything.
    return math.nan if value is None else float(value)


def _observed() -> Iterable[tuple[float, dict[str, str]]]:
    return [(count, {"severity": severity}) for severity, count in list(_firing.items())]


observe("sluiceway_alerts_firing", _observed)
