"""The writing side of the log on Kafka: acks=all, idempotent, bounded in bytes by us, awaited before `append` ends."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from kafka import KafkaProducer
from kafka.errors import KafkaConfigurationError, KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from ingest.kafka_topics import prepare
from ingest.partition import by_trace, warm_up
from ingest.turns import InTurn
from schemas.errors import ConfigurationError, LogUnavailableError, TooLargeError
from schemas.kafka_client import close_producer, opened_producer
from schemas.kafka_errors import unavailable
from schemas.kafka_log import connection_options, encode_headers, topic_names
from schemas.kafka_settings import KafkaSettings
from schemas.log import Entry

_TOO_LARGE = (MessageSizeTooLargeError, RecordListTooLargeError)
# How long an append may wait for others to be delivered before it is pushed back, seconds.
_ROOM_TIMEOUT_S = 1.0
_BATCH_BYTES = 512 * 1024


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
        # One a topic: a producer that failed is thrown away with all that it holds, which must not be another topic's.
        self._producers: dict[str, KafkaProducer] = {}
        self._prepared = False
        self._opening = threading.Lock()
        # Held while the entries of one append are handed over, so that they stay side by side on their partition. One a
        # topic, for the client waits here for a topic's leader.
        self._sending: dict[str, threading.Lock] = {}
        self._room = threading.Condition()
        self._in_flight_bytes = 0
        self._in_flight_of: Counter[str] = Counter()
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
        with self._opening:
            self._prepare()

    def append(self, entries: Sequence[Entry]) -> None:
        """See `LogWriter.append`."""
        if not entries:
            return
        producers = {topic: self._open(topic) for topic in {entry.topic for entry in entries}}
        bound = self.max_record_bytes()
        for number, entry in enumerate(entries):
            if len(entry.value) > bound:
                raise TooLargeError(f"a record must be at most {bound} bytes; entry {number} has {len(entry.value)}")
        if self._settings.partition_by == "trace":
            entries = self._by_trace(producers, entries)
        sizes: Counter[str] = Counter()
        for entry in entries:
            sizes[entry.topic] += len(entry.value)
        self._reserve(sizes)
        try:
            deadline_s = time.monotonic() + self._settings.delivery_timeout_s + 1
            with ExitStack() as held:
                # In one order, or two appends of the same two topics could wait for each other.
                for topic in sorted(sizes):
                    held.enter_context(self._sending[topic])
                futures = [self._send(producers[entry.topic], entry) for entry in entries]
            for future in futures:
                future.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except _TOO_LARGE as error:
            raise self._refused_size(producers, len(entries), bound, error) from error
        except KafkaError as error:
            self._reset(producers)
            raise unavailable(error) from error
        finally:
            with self._room:
                self._in_flight_bytes -= sizes.total()
                self._in_flight_of -= sizes
                self._room.notify_all()

    def max_record_bytes(self) -> int:
        """See `LogWriter.max_record_bytes`. Until brokers have answered it is what the settings allow."""
        return self._most_record_bytes if self._max_record_bytes is None else self._max_record_bytes

    def joins_below_bytes(self) -> int:
        """See `LogWriter.joins_below_bytes`: a record costs the client as much as copying half a megabyte."""
        return 512 * 1024

    def independent_topics(self) -> bool:
        """See `LogWriter.independent_topics`: each has leaders, replicas and limits of its own."""
        return True

    def close(self) -> None:
        """See `LogWriter.close`."""
        self._closed = True
        with self._opening:
            producers, self._producers = self._producers, {}
        until_s = time.monotonic() + self._settings.request_timeout_s
        for producer in producers.values():
            close_producer(producer, max(0.0, until_s - time.monotonic()))

    def _send(self, producer: KafkaProducer, entry: Entry) -> Any:
        headers = encode_headers(entry.tenant, entry.received_at_ns, entry.items, entry.rejected, entry.headers)
        name = self._names.get(entry.topic, entry.topic)
        return producer.send(name, entry.value, headers=headers, partition=entry.partition)

    def _by_trace(self, producers: Mapping[str, KafkaProducer], entries: Sequence[Entry]) -> list[Entry]:
        # What the client knows of the topic; it asks the brokers again every five minutes, and so sees it grow.
        def partitions(topic: str) -> int:
            return len(producers[topic].partitions_for(self._names.get(topic, topic)))

        try:
            return by_trace(entries, partitions)
        except KafkaError as error:
            raise unavailable(error, "partitions") from error

    def _reserve(self, sizes: Counter[str]) -> None:
        size_bytes = sizes.total()
        bound = self._settings.max_in_flight_bytes
        with self._room:
            # The only append of its topics is admitted whatever its size, or it would never be, or wait for another
            # topic that stalls.
            if not self._room.wait_for(
                lambda: (
                    not any(self._in_flight_of[topic] for topic in sizes) or self._in_flight_bytes + size_bytes <= bound
                ),
                _ROOM_TIMEOUT_S,
            ):
                raise LogUnavailableError(
                    f"kafka.max_in_flight_bytes: at most {bound} bytes may wait for the brokers; "
                    f"{self._in_flight_bytes} do, {size_bytes} more were asked for"
                )
            self._in_flight_bytes += size_bytes
            self._in_flight_of += sizes

    def _open(self, topic: str) -> KafkaProducer:
        # Without the lock: another topic's producer may be on its way to a broker that does not answer.
        producer = self._producers.get(topic)
        if producer is not None:
            return producer
        with self._opening:
            self._prepare()
            if topic not in self._producers:
                self._producers[topic] = self._connect()
                self._sending.setdefault(topic, threading.Lock())
            return self._producers[topic]

    def _prepare(self) -> None:
        if self._closed:
            raise LogUnavailableError("the log is closed")
        if not self._prepared:
            if self._settings.partition_by == "trace":
                warm_up()
            self._max_record_bytes = prepare(self._settings, self._most_record_bytes)
            self._prepared = True

    def _connect(self) -> KafkaProducer:
        settings = self._settings
        connect_ms = int(settings.connect_timeout_s * 1000)
        try:
            return opened_producer(
                **connection_options(settings),
                client_id="sluiceway-ingest",
                acks="all",
                enable_idempotence=True,
                compression_type=None if settings.compression == "none" else settings.compression,
                # The client's own check of the size before it compresses; the topic's bound is the one that counts.
                max_request_size=settings.max_message_bytes + self._most_record_bytes,
                # Parts of several requests for one partition travel as one: with the client's 16 KiB, records of 512
                # spans that were split by trace cost 2.4 times the CPU (`python -m bench.partition`).
                batch_size=min(_BATCH_BYTES, self.max_record_bytes()),
                partitioner=InTurn(),
                delivery_timeout_ms=int(settings.delivery_timeout_s * 1000),
                max_block_ms=connect_ms,
                bootstrap_timeout_ms=connect_ms,
                allow_auto_create_topics=False,
                # They would cost CPU on every record, and ours stand in schemas/telemetry.py.
                metrics_enabled=False,
            )
        except KafkaConfigurationError as error:
            raise ConfigurationError(f"kafka: {error}") from error
        except (KafkaError, OSError) as error:
            raise unavailable(error) from error

    def _refused_size(
        self, producers: Mapping[str, KafkaProducer], entries: int, bound: int, error: KafkaError
    ) -> TooLargeError | LogUnavailableError:
        """What to raise for a record that a broker found too large: most likely a topic allows less than it did.

        The client takes that for fatal and would fail all that follows, so the producers are replaced, and the topics'
        bounds are asked for again: what is sent again is split by them.
        """
        self._reset(producers)
        self.open()
        text = f"kafka: {error or type(error).__name__}"
        # One record, and no topic allows less: it would never be taken. Of several, some may be in the log.
        if entries == 1 and self.max_record_bytes() >= bound:
            return TooLargeError(text)
        return LogUnavailableError(f"{text}; records of at most {self.max_record_bytes()} bytes are taken now")

    def _reset(self, producers: Mapping[str, KafkaProducer]) -> None:
        """Use producers that failed no more: what they still hold is unacknowledged and must not be sent later."""
        for topic, producer in producers.items():
            with self._opening:
                if self._producers.get(topic) is producer:
                    del self._producers[topic]
                    # The topic may be gone: it is looked for, and made, before it is next written to.
                    self._prepared = False
            close_producer(producer, 0)
