"""A signal's consumer: a thread that reads records into batches and tries each until it is committed."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from processors.insert import StoreInserter
from processors.settings import BatchSettings
from processors.write import BatchWriter, FloodError
from schemas.errors import FencedError, LogUnavailableError, SluicewayError
from schemas.log import LogReader, Record
from schemas.signals import Signal
from schemas.telemetry import counter

_log = logging.getLogger(__name__)
_FIRST_RETRY_S = 0.2
_IDLE_WAIT_S = 0.5
_POLL_S = 0.05
_MAX_RECORDS = 50_000


class Consumer:
    """Consumes one signal's topic until `stop`.

    Attributes:
        failure: why the last attempt failed, None while it works.
        stopped_for: why it gave up (flood, fenced), None while it runs; an operator must act.
    """

    def __init__(self, signal: Signal, reader: LogReader, store: StoreInserter, settings: BatchSettings) -> None:
        self.signal = signal
        self.failure: str | None = None
        self.stopped_for: str | None = None
        self._reader = reader
        self._store = store
        self._settings = settings
        self._writer = BatchWriter(signal, reader, store, settings)
        self._stop = threading.Event()
        # While draining a batch is not kept open for more records, and reading nothing means that nothing is left.
        self._draining = threading.Event()
        self._idle = threading.Event()
        self._retries = counter("sluiceway_processor_batch_retries_total")
        self._thread = threading.Thread(target=self._run, name=f"consumer-{signal}", daemon=True)

    def start(self) -> None:
        """Begin to consume."""
        self._thread.start()

    def stop(self, timeout_s: float) -> bool:
        """Finish the batch under way; False when that took over `timeout_s` (it stays frozen and is repeated)."""
        self._stop.set()
        self._thread.join(timeout_s)
        stopped = not self._thread.is_alive()
        if stopped:
            self._store.close()
            self._reader.close()
        return stopped

    def begin_drain(self) -> None:
        """Keep no batch open for more records from now on."""
        self._draining.set()

    def drain(self, timeout_s: float) -> bool:
        """Wait until everything appended before this call is committed; False when it was not within `timeout_s`."""
        deadline_s = time.monotonic() + timeout_s
        self.begin_drain()
        while self._thread.is_alive() and not self._idle.wait(_POLL_S):
            if time.monotonic() > deadline_s:
                return False
        return self._idle.is_set()

    def _run(self) -> None:
        attempt = 0
        while not self._stop.is_set():
            try:
                # Asked before the log is read: what was appended between a look and the call to drain is not missed.
                drained = self._draining.is_set()
                for partition in self._reader.partitions():
                    records = self._next_batch(partition)
                    if records:
                        drained = False
                        self._writer.write(partition, records)
                if drained:
                    self._idle.set()
                self.failure = None
                attempt = 0
            except (FloodError, FencedError) as error:
                self.stopped_for = str(error)
                _log.error("%s consumer stops: %s", self.signal, error)
                return
            except SluicewayError as error:
                attempt += 1
                self._back_off(attempt, error)
            except Exception as error:  # noqa: BLE001
                # A defect of ours must not end consumption silently: the batch stays frozen, and is tried again.
                attempt += 1
                _log.exception("%s consumer failed", self.signal)
                self._back_off(attempt, error)

    def _back_off(self, attempt: int, error: Exception) -> None:
        self.failure = f"{type(error).__name__}: {error}"
        self._retries.add(1, {"signal": self.signal.value})
        self._store.close()
        least_s = getattr(error, "retry_after_s", _FIRST_RETRY_S)
        most_s = min(self._settings.retry_max_s, max(least_s, _FIRST_RETRY_S * 2 ** min(attempt, 16)))
        # Full jitter: many consumers that failed together must not return together.
        wait_s = random.uniform(_FIRST_RETRY_S, max(most_s, _FIRST_RETRY_S))  # noqa: S311
        _log.warning(
            "%s batch not written, attempt %d, next in %.1f s; nothing is lost: %s", self.signal, attempt, wait_s, error
        )
        self._stop.wait(wait_s)

    def _next_batch(self, partition: int) -> list[Record]:
        progress = self._reader.progress(partition)
        if progress.frozen is not None:
            return self._frozen(partition, progress.frozen.first, progress.frozen.last)
        limit = self._settings
        records: list[Record] = []
        rows, size_bytes, first_at_s = 0, 0, 0.0
        position = progress.next_offset
        while not self._stop.is_set():
            # A tenth at a time: how many items a record has is known only once it is read.
            found = self._reader.read(partition, position, max_records=_MAX_RECORDS, max_bytes=limit.max_bytes // 10)
            if found:
                first_at_s = first_at_s or time.monotonic()
                position = found[-1].offset + 1
            for record in found:
                if rows >= limit.max_rows or size_bytes >= limit.max_bytes:
                    break
                records.append(record)
                rows += record.items or 0
                size_bytes += len(record.value)
            if rows >= limit.max_rows or size_bytes >= limit.max_bytes or len(records) >= _MAX_RECORDS:
                break
            if records and time.monotonic() - first_at_s >= limit.max_age_s:
                break
            if not found:
                if self._draining.is_set():
                    break
                left_s = limit.max_age_s - (time.monotonic() - first_at_s) if records else _IDLE_WAIT_S
                self._reader.wait(max(left_s, 0.001))
                # Under a trickle of small requests, one look every few milliseconds, not one for each request.
                self._stop.wait(_POLL_S)
                if not records:
                    break
        return records

    def _frozen(self, partition: int, first: int, last: int) -> list[Record]:
        records: list[Record] = []
        while first <= last:
            found = self._reader.read(
                partition, first, last=last, max_records=_MAX_RECORDS, max_bytes=self._settings.max_bytes
            )
            if not found:
                break
            records += found
            first = found[-1].offset + 1
        if not records or records[-1].offset != last:
            raise LogUnavailableError(f"{self.signal}: the frozen records up to offset {last} are not all in the log")
        return records


def consumers(
    open_reader: Callable[[Signal], LogReader], open_store: Callable[[], StoreInserter], settings: BatchSettings
) -> list[Consumer]:
    """One consumer a signal, each with a reader, a client and memory of its own, so that one cannot hold up another."""
    return [Consumer(signal, open_reader(signal), open_store(), settings) for signal in Signal]
