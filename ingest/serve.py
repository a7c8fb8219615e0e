"""Both receivers as one thing to start and stop."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ingest.admission import Admission
from ingest.append import Appender
from ingest.grpc_receiver import GrpcReceiver
from ingest.http_receiver import HttpReceiver
from ingest.receive import Reception
from ingest.settings import IngestSettings
from ingest.split import warm_up as warm_up_split
from ingest.tally import Tally
from ingest.throttle import Throttle
from ingest.validate import is_compiled, warm_up
from schemas.errors import ConfigurationError
from schemas.log import LogWriter
from schemas.settings import RetentionSettings
from schemas.signals import Signal


@dataclass(frozen=True, slots=True)
class Readiness:
    """What a probe and an operator ask.

    Attributes:
        accepting: both ports are open and requests are admitted.
        log_failure: why the log refused the last commit; None when it takes records.
        compiled: requests are checked at full speed; False for some seconds after a first start.
    """

    accepting: bool
    log_failure: str | None
    compiled: bool

    @property
    def ready(self) -> bool:
        """A client that sends now will be acknowledged."""
        return self.accepting and self.log_failure is None


class Receivers:
    """The gRPC and the HTTP receiver over one log. `start` is called once; `stop` may be called again."""

    def __init__(
        self,
        log: LogWriter,
        settings: IngestSettings,
        retention: RetentionSettings,
        *,
        listen_beyond_loopback: bool = False,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        """The log stays the caller's: it is closed by the caller, after `stop`.

        Raises:
            ConfigurationError: an address is not loopback and `listen_beyond_loopback` is not set.
        """
        for name, host in (("grpc_host", settings.grpc_host), ("http_host", settings.http_host)):
            if not listen_beyond_loopback and not is_loopback(host):
                raise ConfigurationError(
                    f"ingest.{name}: must be a loopback address unless listen_beyond_loopback is true, because the "
                    f"receivers have no authentication; got {host!r}"
                )
        self._settings = settings
        throttle = Throttle.of(settings)
        self._admission = Admission(settings, throttle)
        self._tally = Tally(self._admission)
        self._appender = Appender(log, settings, self._tally, clock_ns=clock_ns)
        reception = Reception(self._appender, settings, retention, self._tally, throttle, clock_ns=clock_ns)
        self._grpc = GrpcReceiver(
            reception, self._admission, self._tally, settings, signals_apart=log.independent_topics()
        )
        self._http = HttpReceiver(reception, self._admission, self._tally, settings)
        self._accepting = False
        self._warm_up: threading.Thread | None = None
        self.grpc_port = 0
        self.http_port = 0

    def start(self) -> None:
        """Bind both ports and serve; returns at once, while the checker may still compile beside it.

        Raises:
            ConfigurationError: an address cannot be bound; then nothing is left running.
        """
        try:
            self.grpc_port = self._grpc.start()
            self.http_port = self._http.start()
        except ConfigurationError:
            self.stop()
            raise
        self._accepting = True
        self._warm_up = threading.Thread(target=_warm_up, name="ingest-warm-up", daemon=True)
        self._warm_up.start()

    def stop(self) -> None:
        """Refuse what is new, answer what is under way, append what is queued, for `append_timeout_s` at most."""
        self._accepting = False
        self._admission.close()
        grpc_stopped = self._grpc.begin_stop(self._settings.drain_timeout_s)
        self._http.begin_stop()
        grpc_stopped.wait()
        self._http.close()
        self._grpc.close()
        self._appender.close(self._settings.append_timeout_s)
        if self._warm_up is not None:
            # An interpreter that ends under a compiler's thread may crash.
            self._warm_up.join(self._settings.drain_timeout_s)

    def submit(self, signal: Signal, tenant: str, body: bytes, items: int, rejected: int) -> Future[None]:
        """Append a request that was made in this process; see `Appender.submit`."""
        return self._appender.submit(signal, tenant, body, items, rejected)

    @property
    def readiness(self) -> Readiness:
        """The state now."""
        return Readiness(self._accepting, self._appender.failure, is_compiled())

    @property
    def appender(self) -> Appender:
        """The writing side behind both, for what the program says about itself."""
        return self._appender

    @property
    def tally(self) -> Tally:
        """Our own counts."""
        return self._tally

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _warm_up() -> None:
    # Every request is checked, few are split.
    warm_up()
    warm_up_split()


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`. A name other than localhost may resolve to anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
