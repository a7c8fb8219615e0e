"""One way into the log: a queue, a writer thread, group commit, coalescing, and a circuit breaker in front.

While one commit waits for the disk, requests queue; the next commit takes all of them. So the batch grows with load by
itself, and one fsync serves many clients. Nobody is acknowledged before the commit that holds all of its bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from queue import Empty, SimpleQueue

from ingest.coalesce import Submitted, coalesce
from ingest.fair_queue import FairQueue
from ingest.settings import IngestSettings
from ingest.tally import Tally
from schemas.breaker import BreakerPolicy
from schemas.circuits import Circuits
from schemas.errors import LogUnavailableError, PermanentError, RetryableError
from schemas.log import Entry, LogWriter
from schemas.signals import Signal
from schemas.telemetry import histogram

_log = logging.getLogger(__name__)
# One commit takes no more than this at once, so that the first client of a long queue does not wait for the last.
_MAX_COMMIT_BYTES = 32 * 1024 * 1024
_append_duration = histogram("sluiceway_log_append_duration_seconds")
_circuits = Circuits("sluiceway_log_circuit_state", "sluiceway_log_circuit_transitions_total")


class Withdrawable(Future[None]):
    """Cancelling it lets go of the parts at once: the queue may be long in coming to them, and who waited is gone."""

    def __init__(self, parts: list[tuple[bytes, int]]) -> None:
        super().__init__()
        self._parts = parts

    def cancel(self) -> bool:
        """See `Future.cancel`."""
        cancelled = super().cancel()
        if cancelled:
            self._parts.clear()
        return cancelled


class Lane:
    """The only caller of `LogWriter.append` for its signals. `submit` is safe from any thread; `close` is called once.

    Attributes:
        failing_since: when the first of the last commits in a row failed (`clock`); None when the last one did not.
        succeeded_at: when a commit last succeeded; None when none did.
    """

    def __init__(
        self,
        log: LogWriter,
        settings: IngestSettings,
        tally: Tally,
        signals: Sequence[Signal],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._writer = log
        self._most_coalesced_bytes = settings.coalesce_bytes
        self._most_coalesced_items = settings.max_request_items
        self._linger_s = settings.coalesce_linger_ms / 1000
        self._retry_after_s = settings.retry_after_s
        self._append_timeout_s = settings.append_timeout_s
        self._forget_failure_s = 2 * settings.circuit_open_max_s
        self._tally = tally
        self._clock = clock
        policy = BreakerPolicy(
            settings.circuit_failures,
            settings.circuit_open_s,
            settings.circuit_open_max_s,
            probe_s=2 * settings.append_timeout_s,
        )
        self._breaker = _circuits.breaker(policy, signals, clock=clock)
        self._queue: SimpleQueue[Submitted | None] = SimpleQueue()
        self._backlog: FairQueue[Submitted] = FairQueue()
        # Held while queueing, so that nothing can be queued behind the end mark and never be resolved.
        self._gate = threading.Lock()
        self._closed = False
        self._failure: str | None = None
        self._failed_at = 0.0
        self._committing_since: float | None = None
        self.failing_since: float | None = None
        self.succeeded_at: float | None = None
        self._thread = threading.Thread(target=self._run, name=f"ingest-append-{signals[0]}", daemon=True)
        self._thread.start()

    @property
    def _coalesce_bytes(self) -> int:
        # Asked each time: a log across a network learns its bound when it first answers.
        return min(self._most_coalesced_bytes, self._writer.max_record_bytes())

    @property
    def failure(self) -> str | None:
        """Why the log refused the last commit; None when it took it, or when that is long ago and nobody tried since.

        A process that is sent nothing because it is not ready would otherwise never find out that the log is back.
        """
        failure = self._failure
        return failure if failure is None or self._clock() - self._failed_at < self._forget_failure_s else None

    def submit(self, submitted: Submitted) -> None:
        """Queue a request.

        Raises:
            LogUnavailableError: the circuit is open, or the append under way has taken longer than a client waits.
            RetryableError: we are stopping.
        """
        self._refuse_while_stalled()
        permit = self._breaker.acquire()
        if permit is None:
            raise self._circuit_open()
        submitted.permit = permit
        with self._gate:
            if not self._closed:
                self._queue.put(submitted)
                return
        self._breaker.withdrawn(permit)
        raise RetryableError("receiver: is stopping, send to another or again", retry_after_s=self._retry_after_s)

    def _refuse_while_stalled(self) -> None:
        since = self._committing_since
        if since is None or (stalled_s := self._clock() - since) <= self._append_timeout_s:
            return
        # A log across a network may try for minutes before it says that it failed.
        self._failure = f"log: the append under way takes {stalled_s:.0f} s"
        self._failed_at = self._clock()
        self.failing_since = self.failing_since or since
        raise LogUnavailableError(self._failure, retry_after_s=self._retry_after_s)

    def begin_close(self) -> None:
        """Take nothing more."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)

    def close(self, timeout_s: float | None = None) -> None:
        """Append what is queued, then end the thread. Blocks as long as the log does, or for `timeout_s`."""
        self.begin_close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        running = True
        while running or self._backlog:
            group, running = self._take() if running else (self._backlog.take(_MAX_COMMIT_BYTES), False)
            begun = []
            for submitted in group:
                if submitted.future.set_running_or_notify_cancel():
                    begun.append(submitted)
                else:
                    self._breaker.withdrawn(submitted.permit)
            if begun:
                self._commit(begun)

    def _take(self) -> tuple[list[Submitted], bool]:
        """What the next commit takes, after waiting for the first and lingering for more; False at the end mark.

        All that is queued, in order; what is more than one commit is shared out in turns.
        """
        group: list[Submitted] = []
        size_bytes = 0
        linger_until: float | None = None
        running = True
        while True:
            try:
                submitted = self._queue.get_nowait()
            except Empty:
                if self._backlog or size_bytes >= _MAX_COMMIT_BYTES:
                    break
                if not group:
                    submitted = self._queue.get()
                else:
                    # Waiting is worth it only while what we hold is small: a large group gains nothing by it.
                    if size_bytes >= self._coalesce_bytes or not self._linger_s:
                        break
                    linger_until = linger_until or time.monotonic() + self._linger_s
                    remaining_s = linger_until - time.monotonic()
                    if remaining_s <= 0:
                        break
                    try:
                        submitted = self._queue.get(timeout=remaining_s)
                    except Empty:
                        break
            if submitted is None:
                running = False
                break
            group.append(submitted)
            size_bytes += submitted.size_bytes
        if not self._backlog and size_bytes - (group[-1].size_bytes if group else 0) < _MAX_COMMIT_BYTES:
            return group, running
        for submitted in group:
            self._backlog.put(submitted)
        return self._backlog.take(_MAX_COMMIT_BYTES), running

    def _commit(self, group: list[Submitted]) -> None:
        permit: int | None = max(submitted.permit for submitted in group)
        if not self._breaker.is_current(permit or 0):
            # The circuit has changed since they were queued: they are not sent to a log that is known to be away.
            permit = self._breaker.acquire()
        if permit is None:
            self._refuse(group, self._circuit_open())
            return
        entries = coalesce(group, self._coalesce_bytes, self._most_coalesced_items, self._writer.joins_below_bytes())
        started = time.perf_counter()
        self._committing_since = self._clock()
        try:
            self._append(entries)
        except PermanentError as error:
            # The log answered: it is there.
            self._breaker.succeeded(permit)
            # One request that the log will never take must not cost its neighbours their acknowledgement.
            if len(group) > 1:
                for submitted in group:
                    self._commit([submitted])
                return
            self._tally.append_failed()
            self._refuse(group, self._after_a_lower_bound(group[0]) or error)
        except RetryableError as error:
            self._failed(permit, group, error)
        except Exception as error:  # noqa: BLE001 - whatever a log raises, nobody may be acknowledged or left waiting
            _log.exception("the log failed in a way that it does not document; %d requests are pushed back", len(group))
            unavailable = LogUnavailableError(f"log: {type(error).__name__}", retry_after_s=self._retry_after_s)
            self._failed(permit, group, unavailable)
        else:
            _append_duration.record(time.perf_counter() - started)
            self._breaker.succeeded(permit)
            self.succeeded_at = self._clock()
            if self._failure is not None:
                _log.warning("the log takes records again; nothing acknowledged was lost")
                self._failure = self.failing_since = None
            for entry in entries:
                self._tally.appended(entry.topic, len(entry.value))
            for submitted in group:
                submitted.future.set_result(None)

    def _append(self, entries: Sequence[Entry]) -> None:
        try:
            self._writer.append(entries)
        finally:
            self._committing_since = None

    def _failed(self, permit: int, group: list[Submitted], error: RetryableError) -> None:
        self._breaker.failed(permit)
        self._tally.append_failed()
        if self._failure is None:
            _log.warning("the log does not take records, requests are pushed back: %s", error)
        self._failed_at = self._clock()
        if self.failing_since is None:
            self.failing_since = self._failed_at
        self._failure = str(error)
        self._refuse(group, error)

    def _after_a_lower_bound(self, submitted: Submitted) -> LogUnavailableError | None:
        """The error for a request that was split by a bound which the log has lowered since; None for any other."""
        bound = self._writer.max_record_bytes()
        if all(len(value) <= bound for value, _ in submitted.parts):
            return None
        return LogUnavailableError(
            f"log: takes records of at most {bound} bytes now, send again to have it split",
            retry_after_s=self._retry_after_s,
        )

    def _refuse(self, group: list[Submitted], error: PermanentError | RetryableError) -> None:
        for submitted in group:
            submitted.future.set_exception(error)

    def _circuit_open(self) -> LogUnavailableError:
        after_s = max(self._breaker.retry_after_s(), 0.001)
        return LogUnavailableError(
            f"circuit: the log is not asked for {after_s:.1f} s more, after: {self._failure}", retry_after_s=after_s
        )
