"""An Alertmanager as it is posted to and asked: API v2, from version 0.20 on."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import urllib3
from urllib3.exceptions import HTTPError

from dashboards.alerts.notice import Notice

_TIMEOUT_S = 10.0
# Alerts of others are none of our business.
_OURS = urlencode({"filter": 'rule=~".+"'})


@dataclass(frozen=True, slots=True)
class Silence:
    """Who silenced an alert, and since when, Unix seconds."""

    by: str
    since_s: float


class Alertmanager:
    """Posts to one Alertmanager; its clustering is its own business."""

    def __init__(self, url: str) -> None:
        self._url = f"{url.rstrip('/')}/api/v2"
        self._pool = urllib3.PoolManager(retries=False, timeout=urllib3.Timeout(_TIMEOUT_S))

    def post(self, notices: Sequence[Notice]) -> str:
        """Post them all; why not, '' when it took them."""
        url = f"{self._url}/alerts"
        body = json.dumps([notice.posted() for notice in notices]).encode()
        try:
            answer = self._pool.request("POST", url, body=body, headers={"Content-Type": "application/json"})
        except HTTPError as error:
            return f"{url}: {' '.join(str(error).split())[:200]}"
        said = answer.data[:200].decode("utf-8", "replace")
        return "" if answer.status == 200 else f"{url}: {answer.status} {said}"

    def silenced(self, notices: Sequence[Notice]) -> dict[str, Silence]:
        """The silence of each of these alerts that has one, by fingerprint; the earliest where there are several.

        Raises:
            HTTPError, ValueError: it does not answer, or not as an Alertmanager does.
        """
        asked = {notice.fingerprint for notice in notices}
        found: dict[str, Silence] = {}
        known: dict[str, Silence] = {}
        for alert in self._get(f"alerts?{_OURS}"):
            if alert["fingerprint"] not in asked:
                continue
            for silence_id in alert["status"]["silencedBy"]:
                if silence_id not in known:
                    known[silence_id] = _silence(self._get(f"silence/{quote(silence_id)}"))
                earlier = found.get(alert["fingerprint"])
                if earlier is None or known[silence_id].since_s < earlier.since_s:
                    found[alert["fingerprint"]] = known[silence_id]
        return found

    def _get(self, path: str) -> Any:
        answer = self._pool.request("GET", f"{self._url}/{path}")
        if answer.status != 200:
            raise ValueError(f"{self._url}/{path}: {answer.status}")
        return answer.json()


def _silence(found: dict[str, Any]) -> Silence:
    return Silence(found["createdBy"] or "(nobody named)", dt.datetime.fromisoformat(found["startsAt"]).timestamp())
