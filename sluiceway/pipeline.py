"""The pipeline of one process: all of it (`up`), its ingesting half, or its processing half, opened in this order:
log, receivers, page or probes, store, consumers.

A client is acknowledged as soon as the log can hold its bytes, while the store still starts, the schema is brought up
to date and the decoder is compiled. With `store.url` there is no child: the store is a server of the operator's.
"""

from __future__ import annotations

import enum
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack, suppress
from functools import partial
from types import FrameType

from starlette.applications import Starlette
from starlette.routing import Route

from dashboards.alerts import owners
from dashboards.alerts.evaluate import Evaluator
from dashboards.alerts.incidents import IncidentFile
from dashboards.alerts.rule import Rule
from dashboards.alerts.rules import RULES
from dashboards.boards import file as boards
from dashboards.boards.file import BoardFile
from dashboards.slo.files import read as read_objectives
from dashboards.slo.rules import burn_rules
from dashboards.viewer.alerts import Alerting
from dashboards.viewer.serve import AppServer, Viewer
from ingest.admission import Admission
from ingest.append import Appender
from ingest.serve import Receivers
from ingest.tally import Tally
from schemas.errors import ConfigurationError, LogUnavailableError, SluicewayError
from schemas.log import LogWriter
from schemas.signals import Signal
from sluiceway import open_files
from sluiceway.commands.options import incidents_path, store_path
from sluiceway.config import Config
from sluiceway.consuming import Consuming
from sluiceway.embedded import runtime
from sluiceway.embedded.file_pages import STARTED_S, drop
from sluiceway.embedded.folder import FolderLock, StoreFolder
from sluiceway.embedded.prepare import Preparation
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.figures import LogFigures, observe_pipeline
from sluiceway.health import Check, Readiness, compiled_check, log_check, routes, store_check
from sluiceway.log_access import LogAccess
from sluiceway.one_cpu import OneCpu
from sluiceway.store_access import StoreAccess
from sluiceway.telemetry import SelfTelemetry, Submit

_log = logging.getLogger(__name__)
_UPKEEP_INTERVAL_S = 5.0
_EVALUATOR_END_S = 2.0


class Role(enum.StrEnum):
    """Which part of the pipeline a process is."""

    UP = "up"
    INGEST = "ingest"
    PROCESS = "process"


class Pipeline:
    """One process's part of the pipeline, from `start` to `stop`; each is called once.

    Args:
        config: all settings.
        role: which part.
        signals: what the consumers read; nothing for `ingest`.

    Raises:
        ConfigurationError: a part alone needs a log that others share.
    """

    def __init__(
        self,
        config: Config,
        role: Role = Role.UP,
        signals: Collection[Signal] = tuple(Signal),
        say: Callable[[str], None] = _log.info,
    ) -> None:
        self.log = LogAccess(config)
        if role is not Role.UP and not self.log.on_kafka:
            raise ConfigurationError(
                f"kafka.bootstrap_servers: must name brokers for `sluiceway {role}`, as the embedded log has one "
                "process; got none. On one machine run `sluiceway up`"
            )
        self._config = config
        self._role = role
        self._ends = ExitStack()
        self._stopping = threading.Event()
        self._writer: LogWriter | None = None
        self.access = StoreAccess.of(config)
        stores = role is not Role.INGEST
        self.store = EmbeddedStore(store_path(config), config.store) if stores and not self.access.remote else None
        # One process asks for all: the one that is all. Past one machine Grafana evaluates the rules.
        self._evaluator = self._evaluating() if role is Role.UP and config.alerts.evaluates else None
        self._consuming = Consuming(self.log, self.access, config, signals)
        self._preparation = Preparation(
            config,
            self.access,
            self._begin_to_consume,
            say,
            store_started=lambda: self.store is None or self.store.alive,
        )

    def start(self) -> None:
        """Open the log, the ports and the store; return when they work. Consumers follow when the decoder is compiled.

        Raises:
            ConfigurationError: a port is taken, a folder in use, a setting wrong; nothing is left running.
            StoreUnavailableError: the store did not start.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Answer what is under way, store what was appended, end the child; bounded by the drain and stop time-outs."""
        self._stopping.set()
        self._ends.close()

    def _start(self) -> None:
        defer = self._ends.callback
        # What is deferred runs in reverse: our own last words, receivers, consumers, page, store, log.
        log = self._writer = self.log.writer()
        defer(log.close)
        self._keep_up()
        lock = FolderLock(StoreFolder(store_path(self._config)))
        defer(lock.release if self.store is None else self.store.stop)
        submit, checks, begin_receiving = self._receiving(log)
        telemetry = SelfTelemetry(submit, self._config.telemetry)
        figures = None if self._role is Role.INGEST else self.log.figures()
        if figures is not None:
            defer(figures.close)
            checks |= {
                "store": store_check(self.access.url, ca_file=self.access.ca_file),
                "decoder": compiled_check(lambda: self._preparation.compiled),
                "consumers": self._consuming.trouble,
            }
        server = self._server(figures, routes(telemetry, Readiness(checks)))
        defer(server.stop)
        if figures is not None:
            defer(self._consuming.stop, self._config.ingest.drain_timeout_s)
            defer(self._preparation.stop)
        if self._evaluator is not None:
            defer(self._evaluator.stop, _EVALUATOR_END_S)
        begin_receiving()
        server.start()
        if figures is not None:
            self._preparation.start()
        # One instance a folder, and its process id for the commands. A store of ours takes the folder by itself.
        if self.store is not None:
            self.store.start()
        elif self._role is Role.UP:
            lock.acquire()
        defer(self._observe(figures))
        telemetry.start()
        defer(telemetry.stop)

    def _begin_to_consume(self) -> None:
        if self._writer is not None:
            # What reads topics should not have to wait until somebody sends.
            with suppress(LogUnavailableError):
                self.log.prepare(self._writer)
        self._consuming.begin()
        if self._evaluator is not None:
            self._evaluator.start()

    def _receiving(self, log: LogWriter) -> tuple[Submit, dict[str, Check], Callable[[], None]]:
        """How our own telemetry is appended, what readiness asks, and what opens the ports."""
        config = self._config
        if self._role is Role.PROCESS:
            appender = Appender(log, config.ingest, Tally(Admission(config.ingest)))
            self._ends.callback(appender.close)
            return appender.submit, {"log": lambda: appender.failure}, lambda: None
        receivers = Receivers(
            log, config.ingest, config.retention, listen_beyond_loopback=config.listen_beyond_loopback
        )

        def begin() -> None:
            receivers.start()
            self._ends.callback(receivers.stop)

        return receivers.submit, {"log": log_check(lambda: receivers.readiness)}, begin

    def _server(self, figures: LogFigures | None, probes: list[Route]) -> AppServer:
        config = self._config
        if figures is None:
            return AppServer(config.viewer, lambda: Starlette(routes=probes), [probe.path for probe in probes])
        return Viewer(
            config.viewer,
            partial(self.access.connect_reader, "viewer", answer_timeout_s=config.viewer.query_timeout_s + 5),
            figures,
            routes=probes,
            otlp_grpc=f"http://{config.ingest.grpc_host}:{config.ingest.grpc_port}",
            otlp_http=f"http://{config.ingest.http_host}:{config.ingest.http_port}",
            alerting=Alerting(
                None if self._evaluator is None else partial(getattr, self._evaluator, "states"),
                incidents_path(config),
                config.alerts.runbooks_url,
            ),
            boards=_boards(config),
        )

    def _evaluating(self) -> Evaluator:
        alerts = self._config.alerts
        return Evaluator(
            partial(self.access.connect_reader, "alerts"),
            alerts,
            _rules(self._config),
            IncidentFile(incidents_path(self._config), create=True),
            owners.read(alerts.owners_file) if alerts.owners_file else None,
        )

    def _observe(self, figures: LogFigures | None) -> Callable[[], None]:
        store = self.store
        if store is None:
            return observe_pipeline(figures, {"pipeline": os.getpid}, None)
        return observe_pipeline(figures, {"pipeline": os.getpid, "store": lambda: store.pid}, lambda: store.restarts)

    def _keep_up(self) -> None:
        retention = self.log.retention()
        receives = self._role is not Role.PROCESS
        one_cpu = OneCpu() if receives and self._config.ingest.one_cpu else None

        def keep_up() -> None:
            drop_at_s = time.monotonic() + STARTED_S
            while not self._stopping.wait(_UPKEEP_INTERVAL_S):
                runtime.give_back()
                if time.monotonic() > drop_at_s:
                    drop("libllvmlite.")
                    drop_at_s = math.inf
                if one_cpu is not None:
                    one_cpu.look()
                try:
                    if retention is not None:
                        retention.trim()
                except SluicewayError as error:
                    _log.warning("the log is not trimmed: %s", error)
            if retention is not None:
                retention.close()

        thread = threading.Thread(target=keep_up, name="upkeep", daemon=True)
        thread.start()
        self._ends.callback(thread.join, 5.0)


def run(
    config: Config,
    role: Role = Role.UP,
    signals: Collection[Signal] = tuple(Signal),
    *,
    on_ready: Callable[[], None] | None = None,
) -> int:
    """Run a pipeline until SIGINT or SIGTERM; the exit code.

    The second signal ends at once: what was acked is in the log and is stored at the next start.

    Raises:
        ConfigurationError, StoreUnavailableError: it did not start.
    """
    runtime.bound_arenas()
    # Before the first socket: what a library looks up once at start must be the limit that holds.
    config = open_files.fitted(config, open_files.raise_limit())
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    pipeline = Pipeline(config, role, signals)
    try:
        pipeline.start()
        runtime.tune()
        if on_ready is not None and not stop.is_set():
            on_ready()
        stop.wait()
        _log.info("stopping: draining what was acknowledged")
    finally:
        pipeline.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
    _log.info("stopped")
    return 0


def _boards(config: Config) -> list[BoardFile]:
    folder = config.alerts.slo_folder
    if folder is None:
        return boards.provided()
    # Made of somebody's objectives, so not a file yet; only then is the SDK loaded, some 20 MB.
    from dashboards.definitions import slo  # noqa: PLC0415

    return [*boards.provided(), boards.read(slo.board(read_objectives(folder)).json())]


def _rules(config: Config) -> list[Rule]:
    folder = config.alerts.slo_folder
    return [*RULES, *(burn_rules(read_objectives(folder)) if folder else ())]
