"""What follows an alert that fires: a record, notices, an acknowledgement, an escalation, and word that it is over.

Records may be unavailable, and so may whoever is told: what could not be written or posted is at the next turn, and
neither keeps the other waiting.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence

from urllib3.exceptions import HTTPError

from dashboards.alerts.alertmanager import Alertmanager, Silence
from dashboards.alerts.incident import Incident
from dashboards.alerts.incidents import IncidentFile, PendingOf, Told
from dashboards.alerts.notice import Notice, notice, summary
from dashboards.alerts.owners import Owners
from dashboards.alerts.rule import Rule
from dashboards.alerts.state import MISSING_EVALUATIONS, Change, Labels
from dashboards.alerts.webhook import Webhook
from dashboards.settings import AlertSettings
from schemas.errors import RecordsUnavailableError
from schemas.telemetry import counter

_log = logging.getLogger(__name__)
# An alert that is not told of again for so many intervals is over for its receiver: this process may have died.
_INTERVALS_UNTIL_OVER = 4
_DAY_S = 86400


class Response:
    """Keeps the incidents that are open, and does what is due about them at each `turn`.

    Args:
        settings: where notices go, and how often.
        rules: by name.
        records: where incidents are kept.
        owners: who answers for what; None escalates nothing.
    """

    def __init__(
        self, settings: AlertSettings, rules: Mapping[str, Rule], records: IncidentFile, owners: Owners | None
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._records = records
        self._owners = owners
        self._alertmanager = Alertmanager(settings.alertmanager_url) if settings.alertmanager_url else None
        self._webhook = Webhook(settings.webhook_url, settings.link_url, owners, {}) if settings.webhook_url else None
        self._open: dict[tuple[str, Labels], Incident] = {}
        self._over: list[Incident] = []
        self._unsaved: dict[str, Incident] = {}
        self._told_saved: Told = {}
        self._pending: list[PendingOf] = []
        self._pending_saved: list[PendingOf] = []
        self._recalled = False
        self._told_at_s = 0.0
        self._complaints: dict[str, str] = {}
        self._notices = counter("sluiceway_alerts_notices_total")

    @property
    def open(self) -> list[Incident]:
        """Incidents whose alerts fire, the latest last."""
        return list(self._open.values())

    def recall(self, now_s: float) -> tuple[list[Incident], list[PendingOf]]:
        """What an earlier process left open, and pending until lately; once, and nothing when it cannot be read yet."""
        if self._recalled:
            return [], []
        try:
            found, told, pending = self._records.untold(), self._records.told(), self._records.pending()
        except RecordsUnavailableError as error:
            self._complain("read", str(error))
            return [], []
        self._recalled = True
        if self._webhook is not None:
            self._webhook.told.update(told)
        self._told_saved = dict(told)
        recalled = []
        for incident in found:
            key = incident.rule, incident.labels
            if incident.rule not in self._rules:
                # Nobody can say that it is over any more.
                incident.restored_s, incident.over_told = incident.restored_s or now_s, True
                self._unsaved[incident.id] = incident
            elif incident.open:
                if key in self._open:
                    # The records came back late; the alert is the one that they know.
                    self._unsaved.pop(self._open[key].id, None)
                self._open[key] = incident
                recalled.append(incident)
            else:
                self._over.append(incident)
        self._pending_saved = pending
        return recalled, [of for of in pending if self._held_since(of, now_s)]

    def _held_since(self, of: PendingOf, now_s: float) -> bool:
        # After a longer gap nobody knows whether the condition held all the time.
        rule = self._rules.get(of.rule)
        return rule is not None and now_s - of.seen_s <= MISSING_EVALUATIONS * rule.every_s

    def fired(self, rule: Rule, change: Change, trace: str, culprit: str = "") -> None:
        """An alert began to fire; `trace` shows it, `culprit` most likely is to blame, both may be ''."""
        if (rule.name, change.labels) in self._open:
            return
        team = self._owners.team_of(rule.owner, dict(change.labels).get("service")) if self._owners else ""
        incident = Incident.of(
            rule, change.labels, value=change.value, started_s=change.started_s, detected_s=change.at_s, team=team,
            summary=summary(rule, change.labels, change.value),
        )  # fmt: skip
        incident.trace, incident.culprit = trace, culprit
        self._open[rule.name, change.labels] = self._unsaved[incident.id] = incident

    def seen(self, rule: Rule, labels: Labels, value: float) -> None:
        """An alert goes on firing with this value."""
        incident = self._open.get((rule.name, labels))
        if incident is not None and incident.seen(value):
            incident.summary = summary(rule, labels, value)
            self._unsaved[incident.id] = incident

    def resolved(self, rule: Rule, change: Change) -> None:
        """An alert is over."""
        incident = self._open.pop((rule.name, change.labels), None)
        if incident is not None:
            incident.restored_s = change.at_s
            self._over.append(incident)
            self._unsaved[incident.id] = incident

    def turn(self, now_s: float, *, changed: bool, pending: Sequence[PendingOf] = ()) -> None:
        """Take acknowledgements, escalate, record, and tell what changed or is due to be told again."""
        due = changed or now_s - self._told_at_s >= self._settings.resend_s
        self._pending = list(pending)
        self._take_acknowledgements()
        if due or any(True for _ in self._due_escalations(now_s)):
            self._take_silences(now_s)
        for incident, level in list(self._due_escalations(now_s)):
            _log.warning("incident %s is not acknowledged: escalated to level %d", incident.id, level)
            incident.escalation, due = level, True
            self._unsaved[incident.id] = incident
        self._save(now_s)
        if due:
            self._tell(now_s)
            self._save(now_s)

    def _take_acknowledgements(self) -> None:
        waiting = {incident.id: incident for incident in self.open if incident.acknowledged_s is None}
        try:
            found = self._records.acknowledged(waiting)
        except RecordsUnavailableError as error:
            self._complain("read", str(error))
            return
        for id_, (at_s, by) in found.items():
            waiting[id_].acknowledged_s, waiting[id_].acknowledged_by = at_s, by

    def _take_silences(self, now_s: float) -> None:
        waiting = [incident for incident in self.open if incident.acknowledged_s is None]
        if self._alertmanager is None or not waiting:
            return
        notices = [told for incident in waiting for told in self._notices_of(incident, now_s)]
        try:
            silences = self._alertmanager.silenced(notices)
        except (HTTPError, ValueError, KeyError, TypeError, OSError) as error:
            self._complain(
                "silences", f"the Alertmanager does not say what is silenced: {' '.join(str(error).split())}"
            )
            return
        self._complaints.pop("silences", None)
        for told in notices:
            if told.fingerprint in silences:
                self._acknowledge(told.incident, silences[told.fingerprint])

    def _acknowledge(self, incident: Incident, silence: Silence) -> None:
        # One that was made for a maintenance was there before its alert.
        incident.acknowledged_s = max(incident.detected_s, silence.since_s)
        incident.acknowledged_by = silence.by
        self._unsaved[incident.id] = incident

    def _due_escalations(self, now_s: float) -> Iterator[tuple[Incident, int]]:
        if self._owners is None:
            return
        for incident in self.open:
            if incident.severity != "page" or incident.acknowledged_s is not None:
                continue
            level = sum(now_s - incident.detected_s >= after_s for _, after_s in self._owners.escalation(incident.team))
            if level > incident.escalation:
                yield incident, level

    def _save(self, now_s: float) -> None:
        if not self._unsaved and not self._told_changes() and self._pending == self._pending_saved:
            return
        try:
            forget_before_s = now_s - self._settings.incidents_days * _DAY_S
            self._records.save(list(self._unsaved.values()), forget_before_s=forget_before_s)
            self._save_told()
            if self._pending != self._pending_saved:
                self._records.save_pending(self._pending)
                self._pending_saved = self._pending
        except RecordsUnavailableError as error:
            self._complain("write", str(error))
            return
        self._complaints.clear()
        self._unsaved.clear()

    def _told_changes(self) -> bool:
        return self._webhook is not None and self._recalled and self._webhook.told != self._told_saved

    def _save_told(self) -> None:
        if self._webhook is None or not self._told_changes():
            return
        now = self._webhook.told
        fresh = {key: at_s for key, at_s in now.items() if self._told_saved.get(key) != at_s}
        self._records.save_told(fresh, [key for key in self._told_saved if key not in now])
        self._told_saved = dict(now)

    def _tell(self, now_s: float) -> None:
        self._told_at_s = now_s
        incidents = [*self._over, *self.open]
        notices = [told for incident in incidents for told in self._notices_of(incident, now_s)]
        if not notices:
            return
        failure = self._post(notices, now_s)
        if failure:
            self._notices.add(len(notices), {"outcome": "failed"})
            _log.warning("alerts were not told, and are again in %g s: %s", self._settings.resend_s, failure)
            return
        if self._alertmanager is not None or self._webhook is not None:
            self._notices.add(len(notices), {"outcome": "posted"})
        for incident in self._over:
            incident.over_told = True
            self._unsaved[incident.id] = incident
        self._over.clear()

    def _post(self, notices: Sequence[Notice], now_s: float) -> str:
        if self._alertmanager is not None:
            return self._alertmanager.post(notices)
        return self._webhook.post(notices, now_s) if self._webhook is not None else ""

    def _notices_of(self, incident: Incident, now_s: float) -> Iterator[Notice]:
        rule = self._rules[incident.rule]
        until_s = now_s + _INTERVALS_UNTIL_OVER * max(rule.every_s, self._settings.resend_s)
        ends_at_s = until_s if incident.restored_s is None else incident.restored_s
        for level in range(incident.escalation + 1):
            yield notice(rule, incident, self._settings, ends_at_s=ends_at_s, escalation=level)

    def _complain(self, about: str, text: str) -> None:
        """Say what fails once, and again when it fails otherwise."""
        if self._complaints.get(about) != text:
            _log.warning("alerts go on without: %s", text)
            self._complaints[about] = text
