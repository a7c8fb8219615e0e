"""The exactly-once protocol: freeze, guard, insert with tokens, commit.

A batch is the records [first, last] of one partition. Its range is frozen where the offsets live before its first
insert; every insert carries a token made of log, topic, partition, range and table; the offset moves after the last of
them. After any crash the frozen range is read again, decodes to the same blocks, and the store drops what it has,
views included.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Sequence

import pyarrow as pa

from processors import native
from processors.arena import Arena
from processors.blocks import block_ranges
from processors.bounded_arena import ArenaFullError, BoundedArena
from processors.counting import ledger_rows
from processors.decode import Decoded, decode
from processors.guard.guard import UNGUARDED, Guard, Guarded, Policy
from processors.insert import StoreInserter
from processors.settings import BatchSettings
from schemas.columns import BY_NAME, Table
from schemas.errors import SluicewayError
from schemas.log import DeadLetter, LogReader, OffsetRange, Record
from schemas.settings import MIB
from schemas.signals import Signal
from schemas.telemetry import counter, histogram
from schemas.tracing import batch_span

_log = logging.getLogger(__name__)

# Working memory of a batch: ordinary telemetry needs four bytes for each of its own.
_LEAST_BYTES = 128 * MIB
_BYTES_FOR_EACH = 8


class FloodError(SluicewayError):
    """Most of a stretch of records is bad: the consumer stops and leaves them in the log."""


class BatchWriter:
    """Writes the batches of one signal. Used by one thread; owns the working memory of its batches."""

    def __init__(
        self,
        signal: Signal,
        reader: LogReader,
        store: StoreInserter,
        settings: BatchSettings,
        policy: Policy = UNGUARDED,
    ) -> None:
        self._signal = signal
        self._reader = reader
        self._store = store
        self._settings = settings
        self._guard = Guard(signal, store, policy)
        self._arena = BoundedArena()
        self._block = Arena()
        self._recent: deque[bool] = deque(maxlen=settings.flood_records)
        self._batches = counter("sluiceway_processor_batches_total")
        self._items = counter("sluiceway_processor_items_total")
        self._batch_items = histogram("sluiceway_processor_batch_items")
        self._decode_s = histogram("sluiceway_processor_decode_duration_seconds")
        self._batch_s = histogram("sluiceway_processor_batch_duration_seconds")
        self._dead_letters = counter("sluiceway_processor_dead_letters_total")

    def write(self, partition: int, records: Sequence[Record]) -> int:
        """Make the batch durable in the store, exactly once, and commit it; returns its items.

        `records` are all records of the frozen range, in order. Where nothing is frozen, as many of them as memory
        allows are frozen and written; the others are left for the next batch.

        Raises:
            StoreUnavailableError, LogUnavailableError: try the same range again later.
            PermanentError: the store refuses the bytes: a table is not as our schema says.
            FencedError: the partition belongs to another worker.
            FloodError: too many bad records; nothing is committed.
        """
        started_s = time.monotonic()
        offsets = OffsetRange(records[0].offset, records[-1].offset)
        tenants = {record.tenant for record in records}
        with batch_span(tenants, {"signal": self._signal.value, "first": offsets.first, "last": offsets.last}):
            frozen = self._reader.progress(partition).frozen
            if frozen is None:
                records, decoded = self._decode_what_fits(records)
                self._refuse_flood(len(records), decoded)
                self._guard.announce(self._reader.log_id(), records)
                frozen = self._reader.freeze(partition, records[-1].offset)
                guarded = self._guard.first(self._reader.log_id(), records, frozen, decoded)
            else:
                # It was judged before it was frozen, and is not judged again at each attempt.
                # With marks, because rules may be recorded that are no longer in force.
                decoded = decode(self._signal, records, self._arena, marked=True)
                guarded = self._guard.again(self._reader.log_id(), records, frozen, decoded)
            self._insert(partition, records, frozen, decoded, guarded)
            letters = self._letters(records, decoded)
            self._reader.commit(partition, letters)
            self._guard.done(partition, frozen, guarded)
        self._count(decoded, len(letters), time.monotonic() - started_s)
        return int(decoded.items.sum())

    def _decode_what_fits(self, records: Sequence[Record]) -> tuple[Sequence[Record], Decoded]:
        # Two bytes on the wire may stand for a row, an event or an exemplar of a hundred: the bytes of a batch do not
        # bound its memory. One record always fits: its size is bounded where it is received.
        while True:
            value_bytes = sum(len(record.value) for record in records)
            limit_bytes = None if len(records) == 1 else _LEAST_BYTES + _BYTES_FOR_EACH * value_bytes
            try:
                with self._arena.bounded(limit_bytes):
                    return records, decode(self._signal, records, self._arena, marked=self._guard.reads_bytes)
            except ArenaFullError:
                records = records[: len(records) // 2]

    def _insert(
        self, partition: int, records: Sequence[Record], frozen: OffsetRange, decoded: Decoded, guarded: Guarded
    ) -> None:
        log_id, topic = self._reader.log_id(), records[0].topic
        batch = f"{log_id}:{topic}:{partition}:{frozen.first}:{frozen.last}"
        for name, rows in decoded.tables.items():
            table = BY_NAME[name]
            for first, end in block_ranges(name, rows):
                started_s = time.monotonic()
                part = rows.slice(first, end - first)
                body = self._encode(part, table)
                self._decode_s.record(time.monotonic() - started_s, {"signal": self._signal.value})
                token = f"{batch}:{name}:{first}" if first else f"{batch}:{name}"
                self._store.native(name, table.names, body, part.num_rows, token)
        # Last, so that what the ledger says was stored is in its table.
        rows_of_ledger = ledger_rows(self._signal, log_id, records, frozen, decoded, guarded)
        self._store.rows("ledger", rows_of_ledger, f"{batch}:ledger")

    def _encode(self, rows: pa.RecordBatch, table: Table) -> memoryview:
        # One block at a time: the one before has been sent.
        self._block.reset()
        return native.encode(rows, table.columns, self._block)

    def _letters(self, records: Sequence[Record], decoded: Decoded) -> list[DeadLetter]:
        letters = []
        for fault in decoded.faults:
            record = records[fault.record]
            message = f"{record.topic}/{record.partition}@{record.offset}: byte {fault.at}: {fault.rule}"
            _log.error("dead letter %s", message)
            letters.append(DeadLetter(record, "malformed", message, time.time_ns()))
        return letters

    def _refuse_flood(self, records: int, decoded: Decoded) -> None:
        bad = len(decoded.faults)
        self._recent.extend([False] * (records - bad) + [True] * bad)
        recent_bad = sum(self._recent)
        limit = self._settings
        if bad and recent_bad >= limit.flood_min_bad and recent_bad > limit.flood_share * len(self._recent):
            self._recent.clear()
            raise FloodError(
                f"{self._signal}: {recent_bad} of the last records are bad (batch.flood_share {limit.flood_share},"
                f" batch.flood_min_bad {limit.flood_min_bad}); the first: byte {decoded.faults[0].at}: "
                f"{decoded.faults[0].rule}. The consumer stops; the records stay in the log. Mend the sender and set "
                "batch.flood_share to 1 for one start to put them among the dead letters."
            )

    def _count(self, decoded: Decoded, letters: int, took_s: float) -> None:
        labels = {"signal": self._signal.value}
        items = int(decoded.items.sum())
        self._batches.add(1, labels)
        self._items.add(items, labels)
        self._batch_items.record(items, labels)
        self._batch_s.record(took_s, labels)
        if letters:
            self._dead_letters.add(letters, {**labels, "reason": "malformed"})
