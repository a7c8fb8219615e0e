"""Grafana's HTTP API: one request, tried again while the server is busy.

Through grafana-api, which the project's users ask for: a thin wrapper of requests, old, but it works. What it lacks
(retries, refusals that are no JSON) is here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from grafana_api.grafana_api import GrafanaAPI, GrafanaException

from schemas.backoff import Backoff, BackoffPolicy
from schemas.errors import ConfigurationError, SluicewayError

_TIMEOUT_S = 30.0
_ATTEMPTS = 6
_RETRIED = frozenset({429, 500, 502, 503, 504})
_MAY_BE_GONE = ("GET", "DELETE")
_NEEDS = {
    401: "the token is not known to it, or expired",
    403: "the token needs the role Admin, or permission to write folders, data sources, dashboards and alert rules",
}


class GrafanaError(SluicewayError):
    """Grafana refused a request, or is away."""


class Grafana:
    """One server.

    Args:
        url: its address, `http(s)://host[:port][/path]`.
        token: of a service account.
        sleep: waits between attempts.
    """

    def __init__(self, url: str, token: str, sleep: Callable[[float], None] = time.sleep) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"--url must be http:// or https:// and a host, received {url!r}")
        self._url = url
        self._sleep = sleep
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        path = parts.path.strip("/")
        self._api = GrafanaAPI(
            token,
            host=host,
            port=parts.port,
            url_path_prefix=f"{path}/" if path else "",
            protocol=parts.scheme,
            timeout=_TIMEOUT_S,
        )
        self._answers: list[requests.Response] = []
        self._api.s.hooks["response"].append(lambda answer, **_: self._answers.append(answer))

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """The answer; None where what is asked for, or deleted, is not there, and after a deletion.

        Raises:
            GrafanaError: it refused, or did not answer in several attempts.
        """
        waits = Backoff(BackoffPolicy(first_s=0.5, max_s=10.0))
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                status, said = self._once(method, path, body)
            except requests.exceptions.RequestException as error:
                if attempt == _ATTEMPTS:
                    # The error itself may be long, and says the address again.
                    raise GrafanaError(f"{self._url} does not answer ({type(error).__name__})") from error
                self._sleep(waits.failed())
                continue
            # A page of something in front of it, taken for "there is no such thing", would have all made anew.
            of_grafana = not isinstance(said, str)
            if status < 400 and (of_grafana or method == "DELETE"):
                return said if of_grafana else None
            if status == 404 and of_grafana and method in _MAY_BE_GONE:
                return None
            if status not in _RETRIED or attempt == _ATTEMPTS:
                why = _NEEDS.get(status, _message(said) if of_grafana else "no JSON; is a Grafana there?")
                raise GrafanaError(f"{self._url}: {method} /api{path}: {status}: {why}")
            self._sleep(waits.failed())
        raise AssertionError("unreachable")

    def _once(self, method: str, path: str, body: object) -> tuple[int, Any]:
        """Status, and what the answer's JSON holds; its text where it is none."""
        self._answers.clear()
        try:
            # Else rules that came through the API could not be changed in Grafana, not even to silence one.
            getattr(self._api, method)(path, json=body, headers={"X-Disable-Provenance": "true"})
        except (GrafanaException, requests.exceptions.JSONDecodeError, TypeError):
            # The library's account of a refusal is a text, and fails on some: the answer itself says more.
            if not self._answers:
                raise
        answer = self._answers[-1]
        try:
            return answer.status_code, answer.json()
        except requests.exceptions.JSONDecodeError:
            return answer.status_code, answer.text


def _message(said: Any) -> str:
    text = said.get("message", "") if isinstance(said, Mapping) else str(said)
    return " ".join(str(text).split())[:300] or "no reason given"
