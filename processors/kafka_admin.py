"""Questions to brokers that no consumer or producer asks: what topics there are, where they end, sizes on disk.

A consumer answers some of them too, out of what it remembers of the cluster, and what it remembers shrinks to the
topics that it reads: kafka-python then leaves partitions out of its answer, or raises KeyError for them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from kafka import IsolationLevel, KafkaAdminClient, OffsetSpec, TopicPartition
from kafka.errors import (
    CoordinatorLoadInProgressError,
    CoordinatorNotAvailableError,
    KafkaError,
    NoError,
    UnknownTopicOrPartitionError,
    for_code,
)

from schemas.errors import LogUnavailableError
from schemas.kafka_client import opened
from schemas.kafka_errors import unavailable
from schemas.kafka_log import connection_options
from schemas.kafka_settings import KafkaSettings

_COORDINATOR_STARTS = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError)

_Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Topic:
    """What brokers say of a topic: the id that they gave it when it was made, in hexadecimal, and its partitions."""

    id: str
    partitions: tuple[int, ...]


class Admin:
    """An admin client that opens at the first question and again after a failure; its errors are ours."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: KafkaAdminClient | None = None

    def ask(self, question: Callable[[KafkaAdminClient], Any], what: str = "") -> Any:
        """What `question` answers; `what` it is about, for the error.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        # A cluster makes the topic of its groups when the first one is asked for, and refuses until it has leaders.
        until_s = time.monotonic() + self._settings.request_timeout_s
        while True:
            try:
                return self._ask_once(question, what)
            except LogUnavailableError as error:
                if not isinstance(error.__cause__, _COORDINATOR_STARTS) or time.monotonic() > until_s:
                    raise
                time.sleep(0.2)

    def topics(self, names: Collection[str]) -> dict[str, Topic]:
        """Those of the topics that exist, by name.

        Raises:
            LogUnavailableError: no broker answers, or one does not know yet who leads.
        """

        def described(admin: KafkaAdminClient) -> dict[str, Topic]:
            found: dict[str, Topic] = {}
            for topic in admin.describe_topics(list(names)):
                error = for_code(topic["error_code"])
                if error is NoError and topic["topic_id"]:
                    partitions = tuple(sorted(each["partition_index"] for each in topic["partitions"]))
                    found[topic["name"]] = Topic(str(topic["topic_id"]).replace("-", ""), partitions)
                elif error is not UnknownTopicOrPartitionError:
                    raise error(topic["name"])
            return found

        answer: dict[str, Topic] = self.ask(described)
        return answer

    def topic_id(self, name: str) -> str:
        """The id of one topic.

        Raises:
            LogUnavailableError: no broker answers, or there is no such topic yet.
        """
        topic = self.topics([name]).get(name)
        if topic is None:
            raise LogUnavailableError(f"kafka: topic {name} does not exist yet: ingest makes it")
        return topic.id

    def bounds(self, partitions: Collection[_Key]) -> tuple[dict[_Key, int], dict[_Key, int]]:
        """First offset kept and end offset (of committed records) of partitions that exist.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        if not partitions:
            return {}, {}

        def offsets(admin: KafkaAdminClient, spec: OffsetSpec) -> dict[_Key, int]:
            asked = {TopicPartition(*each): spec for each in partitions}
            answered = admin.list_partition_offsets(asked, isolation_level=IsolationLevel.READ_COMMITTED)
            return {(each.topic, each.partition): found.offset for each, found in answered.items()}

        # Ends after begins: what retention deletes between the two leaves begin <= end.
        begins: dict[_Key, int] = self.ask(lambda admin: offsets(admin, OffsetSpec.EARLIEST))
        ends: dict[_Key, int] = self.ask(lambda admin: offsets(admin, OffsetSpec.LATEST))
        return begins, ends

    def _ask_once(self, question: Callable[[KafkaAdminClient], Any], what: str) -> Any:
        try:
            if self._client is None:
                self._client = opened(
                    KafkaAdminClient,
                    **connection_options(self._settings),
                    client_id="sluiceway-inspect",
                    bootstrap_timeout_ms=int(self._settings.request_timeout_s * 1000),
                )
            return question(self._client)
        except (KafkaError, OSError) as error:
            self.close()
            raise unavailable(error, what) from error

    def close(self) -> None:
        """Disconnect; the next question connects again."""
        client, self._client = self._client, None
        if client is not None:
            client.close()


def sizes(found: object) -> Iterator[int]:
    """Every `size` of the partitions in the nested answer of DescribeLogDirs."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name in ("partition_size", "size") and isinstance(value, int):
                yield value
            else:
                yield from sizes(value)
    elif isinstance(found, list):
        for value in found:
            yield from sizes(value)
