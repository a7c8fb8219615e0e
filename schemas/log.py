"""The log contract: what SQLite implements on one machine and Kafka past one.

`next_offset` always means the first record not yet committed, which is the next one to read. Offsets of one partition
grow; they may have gaps. A value is the OTLP `Export*ServiceRequest` protobuf, or several concatenated (protobuf
merge).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One record to append.

    Attributes:
        topic: where it goes.
        value: OTLP export request bytes.
        tenant: '' when the client named none.
        received_at_ns: Unix nanoseconds at which ingest received it.
        items: spans, data points or log records in `value`, counted by ingest before the ack.
        rejected: items of the same requests that were refused through partial_success and are not in `value`.
        headers: further headers (a dead letter's reason and position; `redriven_from`).
        partition: where it must go; None for any. A log with one partition ignores it.
    """

    topic: str
    value: bytes
    tenant: str = ""
    received_at_ns: int = 0
    items: int = 0
    rejected: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One record as read. `items` is None on records that ingest did not write (a Collector's)."""

    topic: str
    partition: int
    offset: int
    value: bytes
    tenant: str
    received_at_ns: int
    items: int | None
    rejected: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """Offsets first..last, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a consumer group stands on one partition.

    `frozen` starts at `next_offset` and is the batch that may already be partly inserted: after a restart exactly this
    range MUST be rebuilt and inserted again with the same tokens before anything else.
    """

    next_offset: int
    frozen: OffsetRange | None = None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A record that could not be decoded or stored. Its identity is its source position."""

    source: Record
    reason: str
    message: str
    failed_at_ns: int = 0


@dataclass(frozen=True, slots=True)
class TopicCount:
    """What the log ever accepted for one topic, partition and tenant; counted in the append's own transaction."""

    topic: str
    partition: int
    tenant: str
    records: int
    items: int
    rejected: int


class LogWriter(Protocol):
    """The writing side. Implementations MUST be safe to call from several threads."""

    def append(self, entries: Sequence[Entry]) -> None:
        """Append all entries; return when they are durable (SQLite fsync, Kafka acks=all). Blocks.

        Entries of one topic that land on one partition keep their order there, with nothing between them.

        Raises:
            LogUnavailableError: nothing of `entries` is acknowledged (disk full, read-only, over the size bound, away).
                The embedded log then holds none of them; a log across a network may hold some, as after any answer
                that was lost on its way.
            TooLargeError: an entry is over the log's record bound; nothing was appended.
        """

    def max_record_bytes(self) -> int:
        """The largest `value` that one entry may hold."""

    def joins_below_bytes(self) -> int:
        """Requests of this size and more are better records of their own: joining them costs more than a record."""

    def independent_topics(self) -> bool:
        """Whether one topic may stall or fail while others take records: then `append` is called for one at a time.

        From a thread for each topic, that is; a log that is one file, with one fsync for all, says False.
        """

    def close(self) -> None:
        """Finish what is under way and release the log."""


class LogReader(Protocol):
    """The reading side: one consumer group on one topic. Used by one thread."""

    def log_id(self) -> str:
        """Identifies the log of this reader's topic among all that a store ever saw: offsets of another one, a topic
        that was deleted and made again included, mean other records.

        Raises:
            LogUnavailableError: the log cannot be read now.
        """

    def partitions(self) -> Sequence[int]:
        """The partitions that this reader owns now."""

    def progress(self, partition: int) -> Progress:
        """The committed offset and the frozen range, if any."""

    def read(
        self, partition: int, first: int, *, last: int | None = None, max_records: int, max_bytes: int
    ) -> list[Record]:
        """Records from offset `first` (to `last` at most), in order, without waiting; [] when none is at hand.

        At least one record is returned when one is at hand, even if it is over `max_bytes`. What a log across a network
        took a moment ago may come to hand a moment later: then `wait` returns. Where `last` is given, the record at
        `last` exists, and records before it are waited for.

        Raises:
            LogUnavailableError: the log cannot be read now.
            PartitionLostError: this reader does not own the partition.
        """

    def wait(self, timeout_s: float) -> None:
        """Return when records or partitions may have arrived, or after `timeout_s`."""

    def freeze(self, partition: int, last: int) -> OffsetRange:
        """Durably freeze [next_offset, last] as the batch under way.

        Raises:
            FencedError: this reader no longer owns the partition.
            ValueError: another range is frozen.
        """

    def commit(self, partition: int, dead_letters: Sequence[DeadLetter] = ()) -> None:
        """Store the dead letters, move `next_offset` past the frozen range and lift the freeze, durably.

        A dead letter whose source position is stored already is not stored twice.

        Raises:
            FencedError: this reader no longer owns the partition.
            ValueError: nothing is frozen.
        """

    def end_offset(self, partition: int) -> int:
        """The offset that the next appended record will be at or after."""

    def close(self) -> None:
        """Release the partitions. A frozen range stays frozen."""


@dataclass(frozen=True, slots=True)
class LogSnapshot:
    """A consistent view of one log for the audit: counts, progress and what is in flight, read in one transaction.

    Attributes:
        counts: all appends ever, a row per topic, partition and tenant.
        progress: by (topic, partition).
        in_flight_items: by (topic, partition, tenant): items of records at or after `next_offset`.
        dead_letters: by (topic, tenant): dead letters that wait (not redriven, not discarded).
        in_flight_records: by (topic, partition, tenant): how many records those items are in.
        oldest_in_flight_ns: by (topic, partition, tenant): when the oldest of those records was received, Unix ns.
        log_ids: `LogReader.log_id` by topic.
        counted_from: by (topic, partition): `counts` hold the records from this offset on; those without an entry are
            counted from the first record ever.
    """

    counts: Sequence[TopicCount]
    progress: Mapping[tuple[str, int], Progress]
    in_flight_items: Mapping[tuple[str, int, str], int]
    dead_letters: Mapping[tuple[str, str], int]
    in_flight_records: Mapping[tuple[str, int, str], int] = field(default_factory=dict)
    oldest_in_flight_ns: Mapping[tuple[str, int, str], int] = field(default_factory=dict)
    log_ids: Mapping[str, str] = field(default_factory=dict)
    counted_from: Mapping[tuple[str, int], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptDeadLetter:
    """A dead letter as kept. `id` is its offset in the dead-letter topic; `redriven_at_ns` is None while it waits."""

    id: int
    letter: DeadLetter
    redriven_at_ns: int | None = None


class LogInspector(Protocol):
    """What operators' commands need; never on the hot path."""

    def starts(self) -> Mapping[tuple[str, int], int]:
        """The first offset still kept, by (topic, partition); empty where `snapshot` counts all appends ever."""

    def snapshot(self, since: Mapping[tuple[str, int], int] | None = None) -> LogSnapshot:
        """One consistent view for the audit.

        `since` says from which offset on to count, by (topic, partition); a log that counts all appends ever ignores
        it. It MUST NOT be below `starts`.
        """

    def size_bytes(self) -> int:
        """Bytes that the log holds on disk."""

    def dead_letters(self, topic: str | None = None, *, limit: int = 100, after_id: int = 0) -> list[KeptDeadLetter]:
        """Dead letters in order of id; `topic` is the source topic, None for all."""

    def newest(self, topic: str, limit: int) -> list[Record]:
        """About the newest `limit` records of a topic that are kept, stored or not; oldest first by partition."""

    def redrive(self, topic: str, ids: Sequence[int] | None = None) -> int:
        """Append the waiting dead letters (all, or `ids`) to their source topic again, each once; returns how many."""

    def close(self) -> None:
        """Release the log."""
