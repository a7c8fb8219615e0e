"""The reading side of the log on Kafka: a member of a consumer group whose commits hold offsets and frozen ranges.

A commit stores `next_offset` and, as its metadata, the frozen range. It counts only in the generation of the group that
it was made in, so a worker that lost a partition cannot freeze another range of it; and the range that is frozen is
inserted under the same tokens by whoever does it, so a worker that lost it in the middle of an insert does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

from kafka import TopicPartition
from kafka.errors import (
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
    RebalanceInProgressError,
)

from processors.kafka_admin import Admin
from processors.kafka_buffer import PartitionBuffer
from processors.kafka_dead_letters import KafkaDeadLetters
from processors.kafka_member import Membership
from schemas.errors import LogUnavailableError, PartitionLostError
from schemas.kafka_errors import unavailable
from schemas.kafka_log import (
    consumer_group,
    decode_progress,
    decode_record,
    encode_progress,
    topic_names,
)
from schemas.kafka_settings import KafkaSettings
from schemas.log import DeadLetter, OffsetRange, Progress, Record
from schemas.telemetry import counter

_log = logging.getLogger(__name__)
_POLL_S = 0.5
# A rebalance among healthy members takes less; one that lasts longer is left for the next attempt.
_REBALANCE_S = 30.0


@dataclass(slots=True)
class _Partition:
    """What is known of a partition that is ours; `taken` tells this ownership from an earlier one."""

    taken: int
    progress: Progress
    buffer: PartitionBuffer
    paused: bool = False


class KafkaLogReader:
    """`LogReader` on one topic of a log on Kafka.

    Joins the group at first use and again after every failure that leaves a commit's outcome unknown.

    Args:
        settings: brokers, groups, bounds.
        topic: what to read, by its default name.
        group: prefix of the consumer group in place of `kafka.group`.
    """

    def __init__(self, settings: KafkaSettings, topic: str, group: str | None = None) -> None:
        self._settings = settings
        self._topic = topic
        self._name = topic_names(settings).get(topic, topic)
        self._group = consumer_group(group or settings.group, self._name)
        self._fetch_bytes = max(settings.fetch_bytes, settings.max_message_bytes)
        self._member: Membership | None = None
        self._dead_letters = KafkaDeadLetters(settings, self._name)
        self._log_id: str | None = None
        self._owned: dict[int, _Partition] = {}
        self._wanted: int | None = None
        self._news = 0
        self._seen = 0
        self._closed = False
        self._lost = counter("sluiceway_log_expired_records_total")

    def log_id(self) -> str:
        """See `LogReader.log_id`: the topic's own id, which a topic made again does not share."""
        if self._log_id is None:
            self._log_id = self._topic_id()
        return self._log_id

    def partitions(self) -> Sequence[int]:
        """See `LogReader.partitions`."""
        self._poll(0)
        return sorted(self._owned)

    def progress(self, partition: int) -> Progress:
        """See `LogReader.progress`."""
        return self._ours(partition).progress

    def read(
        self, partition: int, first: int, *, last: int | None = None, max_records: int, max_bytes: int
    ) -> list[Record]:
        """See `LogReader.read`."""
        deadline_s = time.monotonic() + self._settings.request_timeout_s
        self._seen = self._news
        while True:
            buffer = self._ours(partition).buffer
            if not buffer.covers(first):
                self._seek(partition, first)
                continue
            found = buffer.read(first, last, max_records, max_bytes)
            if found or (last is None and self._wanted == partition):
                return found
            # Only what is asked for is fetched once everything at hand is over the bound.
            self._wanted = partition
            if last is not None and time.monotonic() > deadline_s:
                raise LogUnavailableError(f"kafka: {self._name}/{partition}: offset {first} did not arrive in time")
            self._poll(0 if last is None else 0.1)

    def wait(self, timeout_s: float) -> None:
        """See `LogReader.wait`."""
        deadline_s = time.monotonic() + timeout_s
        before = set(self._owned)
        while not self._closed and self._news == self._seen and set(self._owned) == before:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return
            self._poll(min(left_s, _POLL_S))

    def freeze(self, partition: int, last: int) -> OffsetRange:
        """See `LogReader.freeze`. Freezing the frozen range again changes nothing."""
        ours = self._ours(partition)
        first, frozen = ours.progress.next_offset, ours.progress.frozen
        if frozen is not None:
            if frozen.last != last:
                raise ValueError(f"freeze: offsets {frozen.first}..{frozen.last} are frozen; received last = {last}")
            return frozen
        if not first <= last < max(ours.buffer.end, first):
            end = self.end_offset(partition)
            if not first <= last < end:
                raise ValueError(f"freeze: last must be in {first}..{end - 1}; received {last}")
        frozen = OffsetRange(first, last)
        self._commit(partition, Progress(first, frozen))
        return frozen

    def commit(self, partition: int, dead_letters: Sequence[DeadLetter] = ()) -> None:
        """See `LogReader.commit`. Dead letters are durable before the offset moves."""
        frozen = self._ours(partition).progress.frozen
        if frozen is None:
            raise ValueError(f"commit: nothing is frozen for group {self._group!r} on {self._name!r}/{partition}")
        self._dead_letters.keep(dead_letters)
        self._commit(partition, Progress(frozen.last + 1))

    def end_offset(self, partition: int) -> int:
        """See `LogReader.end_offset`."""
        where = TopicPartition(self._name, partition)
        try:
            ends: dict[TopicPartition, int] = self._open().consumer.end_offsets([where])
        except KafkaError as error:
            raise self._failed("end offset", error) from error
        return ends[where]

    def close(self) -> None:
        """See `LogReader.close`."""
        self._closed = True
        self._leave()
        self._dead_letters.close()

    def _open(self) -> Membership:
        if self._closed:
            raise LogUnavailableError("the log is closed")
        if self._member is None:
            self._log_id = self._topic_id()
            self._member = Membership(self._settings, self._name, self._group, self._fetch_bytes)
        return self._member

    def _topic_id(self) -> str:
        # Asked once a membership: not worth a connection that stays.
        with closing(Admin(self._settings)) as admin:
            return admin.topic_id(self._name)

    def _leave(self) -> None:
        member, self._member = self._member, None
        self._owned.clear()
        if member is not None:
            member.close()

    def _failed(self, what: str, error: KafkaError) -> LogUnavailableError:
        self._leave()
        return unavailable(error, f"{self._name}: {what}")

    def _ours(self, partition: int) -> _Partition:
        try:
            return self._owned[partition]
        except KeyError:
            raise PartitionLostError(f"kafka: {self._name}/{partition} is not ours") from None

    def _poll(self, timeout_s: float) -> None:
        member = self._open()
        try:
            polled = member.poll(timeout_s)
        except NoOffsetForPartitionError:
            polled = {}
        except OffsetOutOfRangeError as error:
            _log.error("kafka: %s: %s", self._name, error)
            self._owned.clear()
            polled = {}
        except KafkaError as error:
            raise self._failed("fetch", error) from error
        for partition in self._owned.keys() - member.owned:
            del self._owned[partition]
        for partition in sorted(member.owned):
            ours = self._owned.get(partition)
            if ours is None or ours.taken != member.taken[partition]:
                self._owned[partition] = self._load(member, partition)
                polled.pop(partition, None)
        for partition, fetched in polled.items():
            if (ours := self._owned.get(partition)) is not None:
                self._news += 1
                ours.buffer.add(
                    [
                        decode_record(self._topic, partition, each.offset, each.value, each.timestamp, each.headers)
                        for each in fetched
                        if each.offset >= ours.buffer.end
                    ]
                )
        self._pause_what_is_ahead(member)

    def _load(self, member: Membership, partition: int) -> _Partition:
        """Where the group stands on a partition that just became ours."""
        where = TopicPartition(self._name, partition)
        try:
            committed = member.committed(partition)
            begin: int = member.consumer.beginning_offsets([where])[where]
        except KafkaError as error:
            raise self._failed("committed offset", error) from error
        progress = Progress(begin)
        if committed is not None:
            log_id, frozen = decode_progress(committed.metadata)
            if log_id in (None, self.log_id()):
                progress = Progress(committed.offset, frozen)
            else:
                _log.warning("kafka: %s/%d was made again since the last commit: from its start", self._name, partition)
        if progress.next_offset < begin:
            self._lost.add(begin - progress.next_offset, {"topic": self._topic})
            _log.error(
                "kafka: %s/%d: offsets %d to %d were deleted by the topic's retention before they were stored",
                self._name, partition, progress.next_offset, begin - 1,
            )  # fmt: skip
            progress = Progress(begin)
        member.consumer.seek(where, progress.next_offset)
        start = progress.next_offset
        return _Partition(member.taken[partition], progress, PartitionBuffer(start, start))

    def _seek(self, partition: int, first: int) -> None:
        try:
            self._open().consumer.seek(TopicPartition(self._name, partition), first)
        except KafkaError as error:
            raise self._failed("seek", error) from error
        self._ours(partition).buffer = PartitionBuffer(first, first)

    def _commit(self, partition: int, progress: Progress) -> None:
        ours = self._ours(partition)
        metadata = encode_progress(self.log_id(), progress.frozen)
        deadline_s = time.monotonic() + _REBALANCE_S
        while True:
            if self._owned.get(partition) is not ours:
                raise PartitionLostError(f"kafka: {self._name}/{partition} went to another member")
            try:
                self._open().commit(partition, progress.next_offset, metadata)
            except RebalanceInProgressError as error:
                if time.monotonic() > deadline_s:
                    raise self._failed("rebalance", error) from error
                self._poll(0.1)
            except PartitionLostError:
                self._owned.clear()
                raise
            except LogUnavailableError:
                self._leave()
                raise
            else:
                break
        ours.progress = progress
        if progress.frozen is None:
            ours.buffer.drop_before(progress.next_offset)

    def _pause_what_is_ahead(self, member: Membership) -> None:
        """Backpressure: over the bound nothing is fetched but for the partition whose batch is being gathered."""
        held_bytes = sum(ours.buffer.size_bytes for ours in self._owned.values())
        bound = self._settings.buffer_bytes
        for partition, ours in self._owned.items():
            alone = partition == self._wanted and ours.buffer.size_bytes < bound
            pause = held_bytes >= bound and not alone
            if pause != ours.paused:
                where = TopicPartition(self._name, partition)
                (member.consumer.pause if pause else member.consumer.resume)(where)
                ours.paused = pause
