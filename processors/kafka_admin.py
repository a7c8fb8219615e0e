"""Questions to brokers that no consumer or producer asks: ids of topics, offsets of groups, sizes on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

from kafka import KafkaAdminClient
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, KafkaError

from schemas.errors import LogUnavailableError
from schemas.kafka_client import opened
from schemas.kafka_errors import unavailable
from schemas.kafka_log import connection_options
from schemas.kafka_settings import KafkaSettings

_COORDINATOR_STARTS = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError)


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

    def topic_id(self, name: str) -> str:
        """The id that brokers gave a topic when it was made, in hexadecimal.

        Raises:
            LogUnavailableError: no broker answers, or there is no such topic yet.
        """
        [topic] = self.ask(lambda admin: admin.describe_topics([name]), name)
        if topic["error_code"] or not topic["topic_id"]:
            raise LogUnavailableError(f"kafka: topic {name} does not exist yet: ingest makes it")
        return str(topic["topic_id"]).replace("-", "")

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
