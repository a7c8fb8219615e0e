"""The whole pipeline in one process and one child: log, receivers, viewer, store, consumers, opened in this order.

With `store.url` there is no child: the store is a server of the operator's.

A client is acknowledged as soon as the log can hold its bytes, while the store still starts, the schema is brought up
to date and the decoder is compiled.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from types import FrameType

from dashboards.viewer.serve import Viewer
from ingest.serve import Receivers
from ingest.sqlite_log import SqliteLogWriter
from processors.consume import Consumer, consumers
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader, SqliteLogRetention
from schemas.errors import SluicewayError
from schemas.signals import topic
from sluiceway.commands.options import store_path
from sluiceway.config import Config
from sluiceway.embedded import runtime
from sluiceway.embedded.folder import FolderLock, StoreFolder
from sluiceway.embedded.prepare import Preparation
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.figures import LogFigures, observe_pipeline
from sluiceway.health import Readiness, compiled_check, log_check, routes, store_check
from sluiceway.store_access import StoreAccess
from sluiceway.telemetry import SelfTelemetry

_log = logging.getLogger(__name__)
_TRIM_INTERVAL_S = 5.0


class AllInOne:
    """The embedded pipeline in `config.data_dir`, from `start` to `stop`; each is called once.

    Attributes:
        access: where the store is, and connections to it.
        store: the supervised ClickHouse server; None where `store.url` names another.
        log_path: the log's file.
    """

    def __init__(self, config: Config, say: Callable[[str], None] = _log.info) -> None:
        self._config = config
        self._say = say
        self._ends = ExitStack()
        self._stopping = threading.Event()
        self._consumers: list[Consumer] = []
        self.access = StoreAccess.of(config)
        self.store = None if self.access.remote else EmbeddedStore(store_path(config), config.store)
        self.log_path = config.log.path or config.data_dir / "log" / "log.sqlite"
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
        config, defer = self._config, self._ends.callback
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        log = SqliteLogWriter(self.log_path, config.log)
        defer(log.close)
        inspector = SqliteLogInspector(self.log_path)
        defer(inspector.close)
        self._keep_trimming()
        # What is deferred runs in reverse: our own last words, receivers, consumers, viewer, store, log.
        # Without a child of ours there is still one instance a folder, and its process id for the commands.
        lock = FolderLock(StoreFolder(store_path(config)))
        defer(self.store.stop if self.store is not None else lock.release)
        figures = LogFigures(inspector, config.log.max_bytes)
        receivers = Receivers(
            log, config.ingest, config.retention, listen_beyond_loopback=config.listen_beyond_loopback
        )
        telemetry = SelfTelemetry(receivers.submit, config.telemetry)
        checks = {
            "log": log_check(lambda: receivers.readiness),
            "store": store_check(self.access.url, ca_file=self.access.ca_file),
            "decoder": compiled_check(lambda: self._preparation.compiled),
            "consumers": self._stopped_consumers,
        }
        viewer = Viewer(
            config.viewer,
            partial(self.access.connect_reader, answer_timeout_s=config.viewer.query_timeout_s + 5),
            figures,
            store_name=self.access.where,
            routes=routes(telemetry, Readiness(checks)),
            otlp_grpc=f"http://{config.ingest.grpc_host}:{config.ingest.grpc_port}",
            otlp_http=f"http://{config.ingest.http_host}:{config.ingest.http_port}",
        )
        defer(viewer.stop)
        defer(self._stop_consumers)
        defer(self._preparation.stop)
        receivers.start()
        defer(receivers.stop)
        viewer.start()
        self._preparation.start()
        if self.store is None:
            lock.acquire()
            defer(observe_pipeline(figures, {"pipeline": os.getpid}, None))
        else:
            self.store.start()
            defer(observe_pipeline(figures, *self._processes(self.store)))
        telemetry.start()
        defer(telemetry.stop)

    @staticmethod
    def _processes(store: EmbeddedStore) -> tuple[dict[str, Callable[[], int | None]], Callable[[], int]]:
        return {"pipeline": os.getpid, "store": lambda: store.pid}, lambda: store.restarts

    def _keep_trimming(self) -> None:
        retention = SqliteLogRetention(self.log_path, self._config.log)

        def trim() -> None:
            while not self._stopping.wait(_TRIM_INTERVAL_S):
                runtime.give_back()
                try:
                    retention.trim()
                except SluicewayError as error:
                    _log.warning("the log is not trimmed: %s", error)
            retention.close()

        thread = threading.Thread(target=trim, name="log-retention", daemon=True)
        thread.start()
        self._ends.callback(thread.join, 5.0)

    def _begin_to_consume(self) -> None:
        self._consumers = consumers(
            lambda kind: SqliteLogReader(self.log_path, topic(kind)), self.access.inserter, self._config.batch
        )
        for consumer in self._consumers:
            consumer.start()

    def _stop_consumers(self) -> None:
        # What was appended is stored before we end, if the store lets us; if not, it is the first thing after the
        # start.
        # One deadline for all of them: a store that is away must not cost the time-out once for each signal.
        timeout_s = self._config.ingest.drain_timeout_s
        deadline_s = time.monotonic() + timeout_s
        for consumer in self._consumers:
            consumer.begin_drain()
        for consumer in self._consumers:
            if not consumer.drain(max(0.0, deadline_s - time.monotonic())):
                _log.warning("%s: not all is stored yet; the log keeps it, the next start stores it", consumer.signal)
        deadline_s = time.monotonic() + timeout_s
        for consumer in self._consumers:
            if not consumer.stop(max(0.0, deadline_s - time.monotonic())):
                _log.warning("%s: a batch was under way; it is repeated at the next start", consumer.signal)

    def _stopped_consumers(self) -> str | None:
        reasons = [
            f"{consumer.signal}: {consumer.stopped_for or consumer.failure}"
            for consumer in self._consumers
            if consumer.stopped_for or consumer.failure
        ]
        return "; ".join(reasons) or None


def run(config: Config, *, on_ready: Callable[[AllInOne], None] | None = None) -> int:
    """Run the pipeline until SIGINT or SIGTERM; the exit code.

    The second signal ends at once: what was acked is in the log and is stored at the next start.

    Raises:
        ConfigurationError, StoreUnavailableError: it did not start.
    """
    runtime.bound_arenas()
    stop = threading.Event()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    pipeline = AllInOne(config)
    try:
        pipeline.start()
        runtime.tune()
        if on_ready is not None and not stop.is_set():
            on_ready(pipeline)
        stop.wait()
        _log.info("stopping: draining what was acknowledged")
    finally:
        pipeline.stop()
        for number, handler in previous.items():
            signal.signal(number, handler)
    _log.info("stopped")
    return 0
