"""Reads topics from an offset to their end, outside any group: for the audit and for dead letters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

from schemas.errors import LogUnavailableError
from schemas.kafka_client import opened
from schemas.kafka_errors import unavailable
from schemas.kafka_log import connection_options, decode_record
from schemas.kafka_settings import KafkaSettings
from schemas.log import Record

_STALLED_S = 30.0


class TopicScanner:
    """A reader of whole topics; opens at first use and again after a failure. Topics by their configured names."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._consumer: KafkaConsumer | None = None

    def read(
        self, begin: Mapping[tuple[str, int], int], end: Mapping[tuple[str, int], int]
    ) -> Iterator[tuple[Record, bytes | None]]:
        """Records (topic as configured) with their keys, from `begin` up to `end` of each partition, in its order.

        Raises:
            LogUnavailableError: brokers do not answer, or nothing came for half a minute.
        """
        left = {key: end[key] for key, offset in begin.items() if offset < end[key]}
        if not left:
            return

        def start(consumer: KafkaConsumer) -> None:
            where = [TopicPartition(*key) for key in left]
            consumer.assign(where)
            for each in where:
                consumer.seek(each, begin[each.topic, each.partition])

        self._asked(start)
        moved_at_s = time.monotonic()
        while left:
            polled = self._asked(lambda consumer: consumer.poll(timeout_ms=500))
            for where, records in polled.items():
                for each in records:
                    key = (where.topic, where.partition)
                    if key in left and each.offset < left[key]:
                        yield (
                            decode_record(
                                where.topic, where.partition, each.offset, each.value, each.timestamp, each.headers
                            ),
                            each.key,
                        )
            # Positions move past what is no record: the marks that end a transaction.
            positions = self._asked(lambda consumer: _positions(consumer, list(left)))
            done = [key for key, position in positions.items() if position is not None and position >= left[key]]
            for key in done:
                del left[key]
            if polled or done:
                moved_at_s = time.monotonic()
            elif time.monotonic() - moved_at_s > _STALLED_S:
                raise LogUnavailableError(f"kafka: nothing came from {sorted(left)} for {_STALLED_S:.0f} s")

    def close(self) -> None:
        """Release the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close(autocommit=False, timeout_ms=1000)

    def _asked(self, ask: Callable[[Any], Any]) -> Any:
        settings = self._settings
        try:
            if self._consumer is None:
                self._consumer = opened(
                    KafkaConsumer,
                    **connection_options(settings),
                    client_id="sluiceway-inspect",
                    group_id=None,
                    enable_auto_commit=False,
                    auto_offset_reset="earliest",
                    isolation_level="read_committed",
                    max_partition_fetch_bytes=max(settings.fetch_bytes, settings.max_message_bytes),
                    allow_auto_create_topics=False,
                    bootstrap_timeout_ms=int(settings.request_timeout_s * 1000),
                    metrics_enabled=False,
                )
            return ask(self._consumer)
        except (KafkaError, OSError) as error:
            self.close()
            raise unavailable(error) from error


def _positions(consumer: Any, keys: list[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
    return {key: consumer.position(TopicPartition(*key)) for key in keys}
