"""A signal's consumer: a thread that reads records into batches and tries each until it is committed.

Every partition that the reader owns has a batch of its own, open until it is full or old. Under load one partition is
read until its batch is full before the next one is looked at, so that parts stay large however many partitions there
are; when all are caught up, each waits for its own age only.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterable
from weakref import WeakSet

from processors.batch import MAX_RECORDS, OpenBatch
from processors.guard.guard import UNGUARDED, Policy
from processors.insert import StoreInserter
from processors.settings import BatchSettings
from processors.store_circuit import store_breaker
from processors.write import BatchWriter, FloodError
from schemas.backoff import Backoff, BackoffPolicy
from schemas.errors import FencedError, LogUnavailableError, PartitionLostError, SluicewayError
from schemas.log import LogReader, OffsetRange, Record
from schemas.signals import Signal
from schemas.telemetry import counter, observe

_log = logging.getLogger(__name__)
_IDLE_WAIT_S = 0.5
_POLL_S = 0.05


class Consumer:
    """Consumes one signal's topic until `stop`.

    Attributes:
        failure: why the last attempt failed, None while it works.
        backoff: its waits between attempts and what is left of its budget of retries.
        stopped_for: why it gave up (flood, fenced), None while it runs; an operator must act.
    """

    def __init__(
        self,
        signal: Signal,
        reader: LogReader,
        store: StoreInserter,
        settings: BatchSettings,
        policy: Policy = UNGUARDED,
    ) -> None:
        self.signal = signal
        self.failure: str | None = None
        self.stopped_for: str | None = None
        self._reader = reader
        self._store = store
        self._settings = settings
        self._writer = BatchWriter(signal, reader, store, settings, policy)
        self._open: dict[int, OpenBatch] = {}
        self._stop = threading.Event()
        # While draining a batch is not kept open for more records, and reading nothing means that nothing is left.
        self._draining = threading.Event()
        self._idle = threading.Event()
        self._retries = counter("sluiceway_processor_batch_retries_total")
        spent = counter("sluiceway_processor_retry_budget_spent_total")
        self.backoff = Backoff(
            BackoffPolicy(
                settings.retry_first_s, settings.retry_max_s, settings.retry_budget_share, settings.retry_budget_retries
            ),
            on_spent=lambda: spent.add(1, {"signal": signal.value}),
        )
        store.breaker = store_breaker(signal, settings)
        _consumers.add(self)
        self._thread = threading.Thread(target=self._run, name=f"consumer-{signal}", daemon=True)

    def start(self) -> None:
        """Begin to consume."""
        self._thread.start()

    def begin_stop(self) -> None:
        """Read nothing more from now on."""
        self._stop.set()

    def stop(self, timeout_s: float) -> bool:
        """Finish the batch under way; False when that took over `timeout_s` (it stays frozen and is repeated)."""
        self.begin_stop()
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
        while not self._stop.is_set():
            try:
                # Asked before the log is read: what was appended between a look and the call to drain is not missed.
                drained = self._draining.is_set()
                partitions = self._reader.partitions()
                self._forget_all_but(partitions)
                moved = False
                for partition in partitions:
                    moved |= self._advance(partition)
                if drained and not moved:
                    self._idle.set()
                if not moved:
                    self._wait()
                self.failure = None
                self.backoff.went_on()
            except PartitionLostError as error:
                # Its new owner finds the frozen range and goes on from there.
                _log.info("%s: %s", self.signal, error)
                self._open.clear()
            except (FloodError, FencedError) as error:
                self.stopped_for = str(error)
                _log.error("%s consumer stops: %s", self.signal, error)
                return
            except SluicewayError as error:
                self._back_off(error)
            except Exception as error:  # noqa: BLE001
                # A defect of ours must not end consumption silently: the batch stays frozen, and is tried again.
                _log.exception("%s consumer failed", self.signal)
                self._back_off(error)

    def _write(self, partition: int, records: list[Record]) -> None:
        self._writer.write(partition, records)
        self.backoff.succeeded()

    def _back_off(self, error: Exception) -> None:
        self.failure = f"{type(error).__name__}: {error}"
        self._retries.add(1, {"signal": self.signal.value})
        self._store.close()
        self._open.clear()
        wait_s = self.backoff.failed(getattr(error, "retry_after_s", 0.0))
        _log.warning(
            "%s batch not written, attempt %d, next in %.1f s; nothing is lost: %s",
            self.signal,
            self.backoff.attempt,
            wait_s,
            error,
        )
        self._stop.wait(wait_s)

    def _advance(self, partition: int) -> bool:
        """Write the partition's frozen batch, or read what there is and write its open batch if due.

        Whether anything was read or written; the partition then deserves another look before the reader waits.
        """
        progress = self._reader.progress(partition)
        if progress.frozen is not None:
            self._open.pop(partition, None)
            self._write(partition, self._frozen(partition, progress.frozen))
            return True
        batch = self._open.get(partition)
        if batch is None:
            batch = self._open[partition] = OpenBatch(progress.next_offset, self._settings)
        found_any = looked = False
        # At least one look: while another partition was written, which takes longer than a pause in a stream, nobody
        # saw whether more keeps coming, and batches of four partitions were closed half full.
        while not batch.is_full and (batch.left_s > 0 or not looked) and not self._stop.is_set():
            looked = True
            # A tenth at a time: how many items a record has is known only once it is read.
            found = self._reader.read(
                partition, batch.position, max_records=MAX_RECORDS, max_bytes=self._settings.max_bytes // 10
            )
            if not found:
                break
            found_any = True
            batch.take(found)
        due = batch.is_full or batch.left_s <= 0 or self._draining.is_set() or self._makes_room(batch)
        if not batch.records or not due or self._stop.is_set():
            return found_any
        # Forgotten before it is written: after a failure it is read again, frozen or not.
        del self._open[partition]
        self._write(partition, batch.records)
        return True

    def _makes_room(self, batch: OpenBatch) -> bool:
        """Whether all open batches together hold too much, however many partitions there are, and this one most."""
        sizes = [each.size_bytes for each in self._open.values()]
        return sum(sizes) > 2 * self._settings.max_bytes and batch.size_bytes == max(sizes)

    def _forget_all_but(self, partitions: Collection[int]) -> None:
        for partition in self._open.keys() - set(partitions):
            del self._open[partition]

    def _wait(self) -> None:
        if self._draining.is_set():
            self._stop.wait(_POLL_S)
            return
        left_s = min((batch.left_s for batch in self._open.values() if batch.records), default=_IDLE_WAIT_S)
        self._reader.wait(max(left_s, 0.001))
        # Under a trickle of small requests, one look every few milliseconds, not one for each request.
        self._stop.wait(_POLL_S)

    def _frozen(self, partition: int, frozen: OffsetRange) -> list[Record]:
        records: list[Record] = []
        first = frozen.first
        while first <= frozen.last:
            found = self._reader.read(
                partition, first, last=frozen.last, max_records=MAX_RECORDS, max_bytes=self._settings.max_bytes
            )
            if not found:
                break
            records += found
            first = found[-1].offset + 1
        if not records or records[-1].offset != frozen.last:
            raise LogUnavailableError(
                f"{self.signal}: the frozen records up to offset {frozen.last} are not all in the log"
            )
        return records


def consumers(
    open_reader: Callable[[Signal], LogReader],
    open_store: Callable[[], StoreInserter],
    settings: BatchSettings,
    signals: Collection[Signal] = tuple(Signal),
    policy: Policy = UNGUARDED,
) -> list[Consumer]:
    """One consumer a signal, each with a reader, a client and memory of its own, so that one cannot hold up another."""
    return [Consumer(signal, open_reader(signal), open_store(), settings, policy) for signal in signals]


_consumers: WeakSet[Consumer] = WeakSet()


def _budgets() -> Iterable[tuple[float, dict[str, str]]]:
    left: dict[Signal, float] = {}
    for consumer in list(_consumers):
        left[consumer.signal] = min(consumer.backoff.budget_left, left.get(consumer.signal, math.inf))
    return [(value, {"signal": signal.value}) for signal, value in left.items()]


# Once a process: a second instrument of the same name is refused by the SDK with a warning.
observe("sluiceway_processor_retry_budget_retries", _budgets)
