"""From checked requests to durable log records: one writer thread, group commit, coalescing, splitting.

While one commit waits for the disk, requests queue; the next commit takes all of them. So the batch grows with load by
itself, and one fsync serves many clients. Nobody is acknowledged before the commit that holds all of its bytes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from ingest.settings import IngestSettings
from ingest.split import split
from ingest.tally import Tally
from schemas.errors import LogUnavailableError, PermanentError, RetryableError
from schemas.log import Entry, LogWriter
from schemas.signals import Signal, topic
from schemas.telemetry import histogram

_log = logging.getLogger(__name__)
_TOPICS = {signal: topic(signal) for signal in Signal}
# One commit takes no more than this at once, so that the first client of a long queue does not wait for the last.
_MAX_COMMIT_BYTES = 32 * 1024 * 1024
_append_duration = histogram("sluiceway_log_append_duration_seconds")


@dataclass(slots=True)
class _Submitted:
    """One request's parts, in order; acknowledged together. Rejected items are counted with the first part."""

    signal: Signal
    tenant: str
    parts: Sequence[tuple[bytes, int]]
    rejected: int
    size_bytes: int
    received_at_ns: int
    future: Future[None] = field(default_factory=Future)


class Appender:
    """The only caller of `LogWriter.append`. `submit` is safe from any thread; `close` is called once."""

    def __init__(
        self, log: LogWriter, settings: IngestSettings, tally: Tally, *, clock_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._writer = log
        self._most_coalesced_bytes = settings.coalesce_bytes
        self._linger_s = settings.coalesce_linger_ms / 1000
        self._retry_after_s = settings.retry_after_s
        self._tally = tally
        self._clock_ns = clock_ns
        self._queue: SimpleQueue[_Submitted | None] = SimpleQueue()
        # Held while queueing, so that nothing can be queued behind the end mark and never be resolved.
        self._gate = threading.Lock()
        self._closed = False
        self._failure: str | None = None
        self._thread = threading.Thread(target=self._run, name="ingest-append", daemon=True)
        self._thread.start()

    @property
    def _coalesce_bytes(self) -> int:
        # Asked each time: a log across a network learns its bound when it first answers.
        return min(self._most_coalesced_bytes, self._writer.max_record_bytes())

    @property
    def failure(self) -> str | None:
        """Why the log refused the last commit; None when it took it."""
        return self._failure

    def submit(self, signal: Signal, tenant: str, body: bytes, items: int, rejected: int) -> Future[None]:
        """Queue a checked request; the future resolves when the log holds all of it durably.

        It fails with LogUnavailableError when the log cannot take it; then nothing of it was acknowledged. Cancelling
        it withdraws the request unless its commit has begun.

        Raises:
            TooLargeError: one item alone is over the log's record bound.
            RetryableError: we are stopping.
        """
        parts: Sequence[tuple[bytes, int]] = ((body, items),)
        max_record_bytes = self._writer.max_record_bytes()
        if len(body) > max_record_bytes:
            parts = split(signal, body, items, max_record_bytes)
        submitted = _Submitted(signal, tenant, parts, rejected, len(body), self._clock_ns())
        with self._gate:
            if self._closed:
                raise RetryableError(
                    "receiver: is stopping, send to another or again", retry_after_s=self._retry_after_s
                )
            self._queue.put(submitted)
        return submitted.future

    def close(self) -> None:
        """Append what is queued, then end the thread. Blocks as long as the log does."""
        with self._gate:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        running = True
        while running:
            group, running = self._take()
            group = [submitted for submitted in group if submitted.future.set_running_or_notify_cancel()]
            if group:
                self._commit(group)

    def _take(self) -> tuple[list[_Submitted], bool]:
        """All that is queued, after waiting for the first and lingering for more; False when the end mark was met."""
        group: list[_Submitted] = []
        size_bytes = 0
        linger_until: float | None = None
        while size_bytes < _MAX_COMMIT_BYTES:
            try:
                submitted = self._queue.get_nowait()
            except Empty:
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
                return group, False
            group.append(submitted)
            size_bytes += submitted.size_bytes
        return group, True

    def _commit(self, group: list[_Submitted]) -> None:
        entries = self._entries(group)
        started = time.perf_counter()
        try:
            self._writer.append(entries)
        except PermanentError as error:
            # One request that the log will never take must not cost its neighbours their acknowledgement.
            if len(group) > 1:
                for submitted in group:
                    self._commit([submitted])
                return
            self._refuse(group, error)
        except RetryableError as error:
            self._refuse(group, error)
        except Exception as error:  # noqa: BLE001 - whatever a log raises, nobody may be acknowledged or left waiting
            _log.exception("the log failed in a way that it does not document; %d requests are pushed back", len(group))
            unavailable = LogUnavailableError(f"log: {type(error).__name__}", retry_after_s=self._retry_after_s)
            self._refuse(group, unavailable)
        else:
            _append_duration.record(time.perf_counter() - started)
            if self._failure is not None:
                _log.warning("the log takes records again; nothing acknowledged was lost")
                self._failure = None
            for entry in entries:
                self._tally.appended(entry.topic, len(entry.value))
            for submitted in group:
                submitted.future.set_result(None)

    def _refuse(self, group: list[_Submitted], error: PermanentError | RetryableError) -> None:
        self._tally.append_failed()
        if isinstance(error, RetryableError):
            if self._failure is None:
                _log.warning("the log does not take records, requests are pushed back: %s", error)
            self._failure = str(error)
        for submitted in group:
            submitted.future.set_exception(error)

    def _entries(self, group: list[_Submitted]) -> list[Entry]:
        """The group as log records; requests of one signal and tenant are concatenated, a merge to protobuf."""
        entries: list[Entry] = []
        open_runs: dict[tuple[Signal, str], _Run] = {}
        for submitted in group:
            rejected = submitted.rejected
            for value, items in submitted.parts:
                key = (submitted.signal, submitted.tenant)
                run = open_runs.get(key)
                if run is not None and run.size_bytes + len(value) > self._coalesce_bytes:
                    entries.append(run.entry(*key))
                    run = None
                if run is None:
                    run = open_runs[key] = _Run(submitted.received_at_ns)
                run.values.append(value)
                run.size_bytes += len(value)
                run.items += items
                run.rejected += rejected
                rejected = 0
        entries.extend(run.entry(*key) for key, run in open_runs.items())
        return entries


@dataclass(slots=True)
class _Run:
    """Requests that become one record. `received_at_ns` is the earliest's."""

    received_at_ns: int
    values: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    items: int = 0
    rejected: int = 0

    def entry(self, signal: Signal, tenant: str) -> Entry:
        value = self.values[0] if len(self.values) == 1 else b"".join(self.values)
        return Entry(_TOPICS[signal], value, tenant, self.received_at_ns, self.items, self.rejected)
