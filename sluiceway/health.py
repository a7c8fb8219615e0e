"""/healthz, /readyz and /metrics as Starlette routes; the wiring mounts them on a server."""

from __future__ import annotations

import contextlib
import http.client
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ingest.serve import Readiness as ReceiversReadiness
from schemas import store_error

Check = Callable[[], str | None]
"""Says why something is not ready; None when it is."""

_NO_STORE = {"Cache-Control": "no-store"}
_THREADS = 2


class Exposition(Protocol):
    """Gives our metrics as text."""

    def exposition(self) -> tuple[bytes, str]:
        """The body and its content type."""


class Readiness:
    """Whether this process should be sent work, by named checks.

    The answer is kept for `max_age_s`, and one thread at a time asks: a probe that comes often, or many of them, cannot
    put load on the log or the store. While the checks take longer than `patience_s`, the answer is that they do.
    """

    def __init__(self, checks: Mapping[str, Check], *, max_age_s: float = 1.0, patience_s: float = 2.0) -> None:
        self._checks = dict(checks)
        self._max_age_s, self._patience_s = max_age_s, patience_s
        self._asking = threading.Lock()
        self._answer: tuple[float, dict[str, str]] | None = None

    def reasons(self) -> dict[str, str]:
        """Why this process is not ready, by the name of the check; empty when it is."""
        if not self._asking.acquire(timeout=self._patience_s):
            return {"checks": f"have not answered for {self._patience_s:g} s"}
        try:
            now = time.monotonic()
            if self._answer is None or now - self._answer[0] > self._max_age_s:
                failed = {name: reason for name, check in self._checks.items() if (reason := _ask(check)) is not None}
                self._answer = (time.monotonic(), failed)
            return dict(self._answer[1])
        finally:
            self._asking.release()


def _ask(check: Check) -> str | None:
    try:
        return check()
    except Exception as error:  # noqa: BLE001  # what a check could not find out is not ready, whatever it was
        return f"{type(error).__name__}: {error}"


def log_check(readiness: Callable[[], ReceiversReadiness]) -> Check:
    """Whether the receivers admit requests and the log took the last commit.

    Our own telemetry commits at every interval, so a log that cannot be written shows here without anybody sending.
    """

    def check() -> str | None:
        now = readiness()
        if not now.accepting:
            return "the receivers are not open"
        return now.log_failure

    return check


def store_check(url: str, *, timeout_s: float = 1.0, ca_file: Path | None = None) -> Check:
    """Whether the store answers at `url`, its HTTP interface; over TLS with a certificate from `ca_file`'s."""
    parts = urlsplit(url)

    def connection() -> http.client.HTTPConnection:
        if parts.scheme == "https":
            trust = ssl.create_default_context(cafile=ca_file)
            return http.client.HTTPSConnection(
                parts.hostname or "", parts.port or 8443, timeout=timeout_s, context=trust
            )
        return http.client.HTTPConnection(parts.hostname or "", parts.port or 8123, timeout=timeout_s)

    def check() -> str | None:
        try:
            with contextlib.closing(connection()) as opened:
                opened.request("GET", "/ping")
                status = opened.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            return f"the store does not answer: {store_error.silence(f'{type(error).__name__}: {error}')}"
        return None if status == 200 else f"the store answers {status} to a ping"

    return check


def compiled_check(compiled: Callable[[], bool]) -> Check:
    """Whether what runs compiled has been compiled; until then requests are taken and only wait to be stored."""
    return lambda: None if compiled() else "the decoder is being compiled; what arrives is kept and stored after it"


def routes(telemetry: Exposition, readiness: Readiness) -> list[Route]:
    """The three routes. Checks and collections may wait on a disk: each runs in threads of its own, few, so that
    neither files of pages nor the other one can take them all.

    /healthz: 200 as long as the process answers. /readyz: 200, or 503 with the reasons. /metrics: Prometheus text.
    """
    checking, collecting = CapacityLimiter(_THREADS), CapacityLimiter(_THREADS)

    async def healthz(_request: Request) -> Response:
        # No thread: alive is alive, also while every thread waits on something.
        return JSONResponse({"status": "alive"}, headers=_NO_STORE)

    async def readyz(_request: Request) -> Response:
        reasons = await to_thread.run_sync(readiness.reasons, limiter=checking)
        if reasons:
            return JSONResponse({"status": "not ready", "reasons": reasons}, 503, _NO_STORE)
        return JSONResponse({"status": "ready"}, headers=_NO_STORE)

    async def metrics(_request: Request) -> Response:
        body, content_type = await to_thread.run_sync(telemetry.exposition, limiter=collecting)
        return Response(body, headers=_NO_STORE | {"Content-Type": content_type})

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
