"""One membership in a consumer group: which partitions are ours, and commits whose outcome is never guessed.

A commit is one request, awaited. Where its outcome stays unknown (time-out, connection lost, a coordinator that moved)
the membership is given up: a new member starts a new generation, so that a request still under way somewhere can no
longer take effect, and what is committed by then is read anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import (
    CommitFailedError,
    FencedInstanceIdError,
    IllegalGenerationError,
    KafkaConfigurationError,
    KafkaError,
    OffsetMetadataTooLargeError,
    RebalanceInProgressError,
    UnknownMemberIdError,
)
from kafka.structs import OffsetAndMetadata

from schemas.errors import ConfigurationError, LogUnavailableError, PartitionLostError
from schemas.kafka_client import opened
from schemas.kafka_errors import unavailable
from schemas.kafka_log import connection_options
from schemas.kafka_settings import KafkaSettings

_log = logging.getLogger(__name__)
# The broker refused the request for certain: nothing of it was or will be written.
_NOT_A_MEMBER = (CommitFailedError, FencedInstanceIdError, IllegalGenerationError, UnknownMemberIdError)
_POLL_RECORDS = 10_000
_JOIN_MS = 5000


class Membership:
    """A consumer that joined `group` for one topic. Used by one thread.

    Attributes:
        consumer: the client, for fetching.
        owned: the partitions that are ours now; it changes only while this thread polls.

    Raises:
        LogUnavailableError: no broker answers.
        ConfigurationError: the client refuses a setting.
    """

    def __init__(self, settings: KafkaSettings, topic: str, group: str, fetch_bytes: int) -> None:
        self._settings = settings
        self._topic = topic
        self.owned: set[int] = set()
        # Counts assignments of a partition, so that "ours again" is told from "ours all the time".
        self.taken: dict[int, int] = {}
        try:
            self.consumer = opened(
                KafkaConsumer,
                **connection_options(settings),
                client_id="sluiceway-process",
                group_id=group,
                enable_auto_commit=False,
                # Where to begin is said for every partition; a position that the log no longer has is an error.
                auto_offset_reset="none",
                partition_assignment_strategy=[CooperativeStickyAssignor],
                session_timeout_ms=int(settings.session_timeout_s * 1000),
                heartbeat_interval_ms=int(settings.session_timeout_s * 100),
                max_poll_interval_ms=int(settings.max_poll_interval_s * 1000),
                max_partition_fetch_bytes=fetch_bytes,
                fetch_max_bytes=max(fetch_bytes, settings.buffer_bytes // 2),
                fetch_max_wait_ms=500,
                # A redrive is a transaction: its records count once it is committed.
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=int(settings.request_timeout_s * 1000),
                metrics_enabled=False,
            )
            # A leader that joins before it knows the topic's partitions would assign none of them to anybody.
            self.consumer.partitions_for_topic(topic)
            self.consumer.subscribe([topic], listener=_Listener(self))
        except KafkaConfigurationError as error:
            raise ConfigurationError(f"kafka: {error}") from error
        except (KafkaError, OSError) as error:
            raise unavailable(error) from error

    def poll(self, timeout_s: float) -> dict[int, list[Any]]:
        """Take part in the group and return what was fetched, by partition.

        Raises:
            KafkaError: as the client.
        """
        coordinator = self.consumer._coordinator
        if coordinator.need_rejoin():
            # kafka-python 3.0 forgets an answered JoinGroup when the poll that sent it ended before the answer, and
            # sends another: with short polls alone a group may never settle. This returns when we are in.
            coordinator.poll(timeout_ms=_JOIN_MS)
        polled = self.consumer.poll(timeout_ms=int(timeout_s * 1000), max_records=_POLL_RECORDS)
        return {partition.partition: records for partition, records in polled.items()}

    def commit(self, partition: int, offset: int, metadata: str) -> None:
        """Commit one offset of a partition that is ours; returns when it is durable.

        Raises:
            RebalanceInProgressError: not now; poll, and try again if the partition is still ours.
            PartitionLostError: this member is no longer in the group.
            LogUnavailableError: the outcome is unknown; the membership MUST be given up.
        """
        where = TopicPartition(self._topic, partition)
        done = threading.Event()
        try:
            future = self.consumer.commit_async({where: OffsetAndMetadata(offset, metadata, -1)})
            future.add_both(lambda _: done.set())
            done.wait(self._settings.request_timeout_s + 1)
        except KafkaError as error:
            raise unavailable(error, "commit") from error
        if not future.is_done:
            raise LogUnavailableError(f"kafka: commit: no answer within {self._settings.request_timeout_s} s")
        failed: BaseException | None = future.exception
        if failed is None and future.value is None:
            return
        if isinstance(failed, RebalanceInProgressError):
            raise failed
        if isinstance(failed, _NOT_A_MEMBER):
            raise PartitionLostError(f"kafka: {self._topic}/{partition}: {type(failed).__name__}") from failed
        if isinstance(failed, OffsetMetadataTooLargeError):
            raise ConfigurationError("kafka: offset.metadata.max.bytes of the brokers must allow 4096") from failed
        # A value is what the client answers when it had to look for the coordinator first: the commit comes after it.
        raise LogUnavailableError(
            f"kafka: commit: {type(failed).__name__ if failed else 'coordinator moved'}: {failed}"
        )

    def committed(self, partition: int) -> OffsetAndMetadata | None:
        """What the group has committed for a partition.

        Raises:
            KafkaError: as the client.
        """
        where = TopicPartition(self._topic, partition)
        timeout_ms = int(self._settings.request_timeout_s * 1000)
        return self.consumer.committed(where, metadata=True, timeout_ms=timeout_ms)

    def close(self) -> None:
        """Leave the group."""
        self.owned.clear()
        try:
            self.consumer.close(autocommit=False, timeout_ms=2000)
        except KafkaError as error:
            _log.info("leaving the group: %s", error)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Called by the client while our thread waits in `poll`, never beside it."""

    def __init__(self, member: Membership) -> None:
        self._member = member

    def on_partitions_revoked(self, revoked: Iterable[Any]) -> None:
        self._member.owned -= {each.partition for each in revoked}

    def on_partitions_lost(self, lost: Iterable[Any]) -> None:
        self.on_partitions_revoked(lost)

    def on_partitions_assigned(self, assigned: Iterable[Any]) -> None:
        taken = self._member.taken
        for each in assigned:
            taken[each.partition] = taken.get(each.partition, 0) + 1
            self._member.owned.add(each.partition)
