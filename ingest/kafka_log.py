"""The writing side of the log on Kafka: acks=all, idempotent, bounded in bytes by us, awaited before `append` ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaConfigurationError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from ingest.kafka_topics import prepare
from schemas.errors import ConfigurationError, LogUnavailableError, TooLargeError
from schemas.kafka_log import connection_options, encode_headers, topic_names
from schemas.kafka_settings import KafkaSettings
from schemas.log import Entry

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# How long an append may wait for others to be delivered before it is pushed back, seconds.
_ROOM_TIMEOUT_S = 1.0


class KafkaLogWriter:
    """`LogWriter` on Kafka. Topics are made or checked when brokers first answer, which need not be at start.

    Args:
        settings: where the brokers are, how topics are made, bounds.
        max_record_bytes: `log.max_record_bytes`; a topic with a smaller `max.message.bytes` lowers it.

    Raises:
        ConfigurationError: the settings are refused by the client, or a topic is not as it must be.
    """

    def __init__(self, settings: KafkaSettings, max_record_bytes: int) -> None:
        self._settings = settings
        self._most_record_bytes = max_record_bytes
        self._names = topic_names(settings)
        self._max_record_bytes: int | None = None
        self._producer: KafkaProducer | None = None
        self._opening = threading.Lock()
        # Held while the entries of one append are handed over, so that they stay side by side on their partition.
        self._sending = threading.Lock()
        self._room = threading.Condition()
        self._in_flight_bytes = 0
        self._closed = False

    @property
    def in_flight_bytes(self) -> int:
        """Bytes handed to the client that no broker has acknowledged."""
        return self._in_flight_bytes

    def open(self) -> None:
        """Make or check the topics and connect, if that has not been done.

        Raises:
            ConfigurationError: a topic is not as it must be.
            LogUnavailableError: no broker answers; the next append tries again.
        """
        self._open()

    def append(self, entries: Sequence[Entry]) -> None:
        """See `LogWriter.append`."""
        if not entries:
            return
        producer = self._open()
        bound = self.max_record_bytes()
        for number, entry in enumerate(entries):
            if len(entry.value) > bound:
                raise TooLargeError(f"a record must be at most {bound} bytes; entry {number} has {len(entry.value)}")
        size_bytes = sum(len(entry.value) for entry in entries)
        self._reserve(size_bytes)
        try:
            deadline_s = time.monotonic() + self._settings.delivery_timeout_s + 1
            with self._sending:
                futures = [self._send(producer, entry) for entry in entries]
            for future in futures:
                future.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except _TOO_LARGE as error:
            raise TooLargeError(f"kafka: {error or type(error).__name__}") from error
        except KafkaError as error:
            self._reset(producer)
            raise LogUnavailableError(f"kafka: {type(error).__name__}: {error}") from error
        finally:
            with self._room:
                self._in_flight_bytes -= size_bytes
                self._room.notify_all()

    def max_record_bytes(self) -> int:
        """See `LogWriter.max_record_bytes`. Until brokers have answered it is what the settings allow."""
        return self._most_record_bytes if self._max_record_bytes is None else self._max_record_bytes

    def independent_topics(self) -> bool:
        """See `LogWriter.independent_topics`."""
        return False

    def close(self) -> None:
        """See `LogWriter.close`."""
        self._closed = True
        with self._opening:
            producer, self._producer = self._producer, None
        if producer is not None:
            producer.close(timeout=self._settings.delivery_timeout_s)

    def _send(self, producer: KafkaProducer, entry: Entry) -> Any:
        headers = encode_headers(entry.tenant, entry.received_at_ns, entry.items, entry.rejected, entry.headers)
        return producer.send(self._names.get(entry.topic, entry.topic), entry.value, headers=headers)

    def _reserve(self, size_bytes: int) -> None:
        bound = self._settings.max_in_flight_bytes
        with self._room:
            # One append is admitted alone whatever its size, or it would never be.
            if not self._room.wait_for(
                lambda: not self._in_flight_bytes or self._in_flight_bytes + size_bytes <= bound, _ROOM_TIMEOUT_S
            ):
                raise LogUnavailableError(
                    f"kafka.max_in_flight_bytes: at most {bound} bytes may wait for the brokers; "
                    f"{self._in_flight_bytes} do, {size_bytes} more were asked for"
                )
            self._in_flight_bytes += size_bytes

    def _open(self) -> KafkaProducer:
        with self._opening:
            if self._closed:
                raise LogUnavailableError("the log is closed")
            if self._producer is None:
                self._max_record_bytes = prepare(self._settings, self._most_record_bytes)
                self._producer = self._connect()
            return self._producer

    def _connect(self) -> KafkaProducer:
        settings = self._settings
        timeout_ms = int(settings.delivery_timeout_s * 1000)
        try:
            return KafkaProducer(
                **connection_options(settings),
                client_id="sluiceway-ingest",
                acks="all",
                enable_idempotence=True,
                compression_type=None if settings.compression == "none" else settings.compression,
                # The client's own check of the size before it compresses; the topic's bound is the one that counts.
                max_request_size=settings.max_message_bytes + self._most_record_bytes,
                delivery_timeout_ms=timeout_ms,
                max_block_ms=timeout_ms,
                bootstrap_timeout_ms=timeout_ms,
                allow_auto_create_topics=False,
                # They would cost CPU on every record, and ours stand in schemas/telemetry.py.
                metrics_enabled=False,
            )
        except KafkaConfigurationError as error:
            raise ConfigurationError(f"kafka: {error}") from error
        except (KafkaError, OSError) as error:
            raise LogUnavailableError(f"kafka: {type(error).__name__}: {error}") from error

    def _reset(self, producer: KafkaProducer) -> None:
        """Use a producer that failed no more: what it still holds is unacknowledged and must not be sent later."""
        with self._opening:
            if self._producer is producer:
                self._producer = None
        producer.close(timeout=0)
