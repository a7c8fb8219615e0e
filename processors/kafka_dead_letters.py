"""Dead letters on Kafka: a compacted topic beside each topic, keyed by where the record was."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import KafkaProducer
from kafka.errors import KafkaError

from schemas.kafka_client import close_producer, opened_producer
from schemas.kafka_errors import unavailable
from schemas.kafka_log import connection_options, dead_letter_topic, encode_dead_letter, position_key
from schemas.kafka_settings import KafkaSettings
from schemas.log import DeadLetter


class KafkaDeadLetters:
    """Writes the dead letters of one topic; connects when there is a first one."""

    def __init__(self, settings: KafkaSettings, configured_topic: str) -> None:
        self._settings = settings
        self._topic = dead_letter_topic(configured_topic)
        self._producer: KafkaProducer | None = None

    def keep(self, letters: Sequence[DeadLetter]) -> None:
        """Return when all are durable. A letter that is there already gives way to its repetition at compaction.

        Raises:
            LogUnavailableError: some may not be there.
        """
        if not letters:
            return
        timeout_s = self._settings.connect_timeout_s
        try:
            if self._producer is None:
                self._producer = dead_letter_producer(self._settings)
            futures = [
                self._producer.send(
                    self._topic, letter.source.value, position_key(letter.source), encode_dead_letter(letter), 0
                )
                for letter in letters
            ]
            for future in futures:
                future.get(timeout=timeout_s)
        except (KafkaError, OSError) as error:
            self.close()
            raise unavailable(error, self._topic) from error

    def close(self) -> None:
        """Release the connection."""
        producer, self._producer = self._producer, None
        if producer is not None:
            close_producer(producer, 0)


def dead_letter_producer(settings: KafkaSettings, transactional_id: str | None = None) -> KafkaProducer:
    """A producer for dead letters and their redrive; raises KafkaError or OSError."""
    timeout_ms = int(settings.connect_timeout_s * 1000)
    return opened_producer(
        **connection_options(settings),
        client_id="sluiceway-dead-letters",
        acks="all",
        enable_idempotence=True,
        transactional_id=transactional_id,
        # A redrive that was ended holds up readers of committed records for as long.
        transaction_timeout_ms=10_000,
        compression_type=None if settings.compression == "none" else settings.compression,
        max_request_size=2 * settings.max_message_bytes,
        delivery_timeout_ms=timeout_ms,
        max_block_ms=timeout_ms,
        bootstrap_timeout_ms=int(settings.request_timeout_s * 1000),
        allow_auto_create_topics=False,
        metrics_enabled=False,
    )
