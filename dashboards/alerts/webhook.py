"""A webhook in the place of an Alertmanager: told in the same form, of each alert once, and when it is over.

Grouped by service and rule as an Alertmanager is told to, inhibited by the same rules, and again after the same time.
Who is told is the `receiver` of a post, by the ownership file.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError

from dashboards.alerts import routes
from dashboards.alerts.durations import duration_s
from dashboards.alerts.incidents import Told
from dashboards.alerts.notice import Notice
from dashboards.alerts.owners import Owners

_TIMEOUT_S = 10.0
# Of a webhook without an ownership file.
RECEIVER = "sluiceway"

Group = tuple[str, tuple[str, ...]]


class Webhook:
    """Posts to one address.

    Args:
        url: takes posts.
        external_url: where those who are told find the viewer.
        owners: who answers for what; None tells one receiver.
        told: when a receiver was last told of an alert, by receiver and fingerprint; kept up to date.
    """

    def __init__(self, url: str, external_url: str, owners: Owners | None, told: Told) -> None:
        self._url = url
        # The rest of an address is often a secret.
        parts = urlsplit(url)
        self._where = f"{parts.scheme}://{parts.hostname}"
        self._external_url = external_url
        self._router = routes.Router(owners) if owners is not None else None
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(_TIMEOUT_S))
        self.told = told

    def post(self, notices: Sequence[Notice], now_s: float) -> str:
        """Post each group in which something is new; why not, '' when all were taken.

        One that is refused does not keep the others; when nobody answers it ends, as many that time out, one after the
        other, would hold up the evaluation.
        """
        refusals = []
        for group, of in self._groups(notices, now_s).items():
            try:
                refusals.append(self._post(group, of, now_s))
            except HTTPError as error:
                return f"{self._where}: {' '.join(str(error).split())[:200]}"
        return "; ".join(filter(None, refusals))

    def _groups(self, notices: Sequence[Notice], now_s: float) -> dict[Group, list[Notice]]:
        groups: dict[Group, list[Notice]] = defaultdict(list)
        inhibitor = routes.Inhibitor(notice.labels for notice in notices if not notice.over)
        at = dt.datetime.fromtimestamp(now_s, dt.UTC)
        for notice in notices:
            by = tuple(notice.labels.get(name, "") for name in routes.GROUP_BY)
            for receiver in self._receivers(notice, inhibitor, at):
                groups[receiver, by].append(notice)
        return groups

    def _receivers(self, notice: Notice, inhibitor: routes.Inhibitor, at: dt.datetime) -> Collection[str]:
        if notice.over:
            # Whoever was told that it fires; the hours may have changed since.
            return [receiver for receiver, fingerprint in self.told if fingerprint == notice.fingerprint]
        if inhibitor.inhibits(notice.labels):
            return []
        if self._router is None:
            return [RECEIVER]
        return [route.receiver for route in self._router.told(notice.labels, at)]

    def _post(self, group: Group, notices: Sequence[Notice], now_s: float) -> str:
        receiver, _ = group
        again_s = now_s - duration_s(routes.REPEAT)
        if not any(notice.over or self.told.get((receiver, notice.fingerprint), 0) <= again_s for notice in notices):
            return ""
        body = json.dumps(self._body(group, notices)).encode()
        answer = self._pool.request("POST", self._url, body=body, headers={"Content-Type": "application/json"})
        if not 200 <= answer.status < 300:
            return f"{self._where}: {answer.status} {answer.data[:200].decode('utf-8', 'replace')}"
        for notice in notices:
            if notice.over:
                self.told.pop((receiver, notice.fingerprint), None)
            else:
                self.told[receiver, notice.fingerprint] = now_s
        return ""

    def _body(self, group: Group, notices: Sequence[Notice]) -> dict[str, Any]:
        receiver, by = group
        group_labels = {name: value for name, value in zip(routes.GROUP_BY, by, strict=True) if value}
        key = ", ".join(f"{name}={json.dumps(value)}" for name, value in sorted(group_labels.items()))
        return {
            "version": "4",
            "groupKey": f"{receiver}:{{{key}}}",
            "truncatedAlerts": 0,
            "status": "resolved" if all(notice.over for notice in notices) else "firing",
            "receiver": receiver,
            "groupLabels": group_labels,
            "commonLabels": _common([notice.labels for notice in notices]),
            "commonAnnotations": _common([notice.annotations for notice in notices]),
            "externalURL": self._external_url,
            "alerts": [
                notice.posted()
                | {
                    "status": "resolved" if notice.over else "firing",
                    "fingerprint": notice.fingerprint,
                    # As an Alertmanager says that an end is not known.
                    **({} if notice.over else {"endsAt": "0001-01-01T00:00:00Z"}),
                }
                for notice in notices
            ],
        }


def _common(of: Sequence[Mapping[str, str]]) -> dict[str, str]:
    first, *others = of
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
