"""Dead letters on Kafka as operators see them: which wait, what they hold, and their way back into the log."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from kafka.errors import KafkaError

from processors.kafka_admin import Admin
from processors.kafka_dead_letters import dead_letter_producer
from processors.kafka_scan import TopicScanner
from schemas.kafka_client import close_producer
from schemas.kafka_errors import unavailable
from schemas.kafka_log import (
    dead_letter_topic,
    decode_dead_letter,
    encode_headers,
    encode_redriven,
    position_key,
    topic_names,
)
from schemas.kafka_settings import KafkaSettings
from schemas.log import KeptDeadLetter

# One transaction of a redrive; a redrive that ends in the middle repeats nothing of those before it.
_REDRIVE_LETTERS = 64


class KafkaLetters:
    """The dead letters of all topics. The admin client and the scanner stay the caller's."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str,
        admin: Admin,
        scanner: TopicScanner,
        clock_ns: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._group = group
        self._admin = admin
        self._scanner = scanner
        self._clock_ns = clock_ns
        self._names = topic_names(settings)
        self._known: dict[str, tuple[int, dict[bytes, KeptDeadLetter]]] = {}

    def waiting(self) -> dict[tuple[str, str], int]:
        """Dead letters that wait, by (topic, tenant). Their topics are read again only where they have grown.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        waiting: Counter[tuple[str, str]] = Counter()
        for kept in self._every(bodies=False):
            if kept.redriven_at_ns is None:
                waiting[kept.letter.source.topic, kept.letter.source.tenant] += 1
        return waiting

    def kept(self, topic: str | None = None, *, limit: int = 100, after_id: int = 0) -> list[KeptDeadLetter]:
        """See `LogInspector.dead_letters`. Ids are unique within a topic.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        found = [kept for kept in self._every(topic) if kept.id > after_id]
        return found[:limit]

    def redrive(self, topic: str, ids: Sequence[int] | None = None) -> int:
        """See `LogInspector.redrive`. The append and the mark are one transaction, so each is redriven once.

        Raises:
            LogUnavailableError: brokers do not answer. What was redriven before stays redriven and marked.
        """
        chosen = None if ids is None else frozenset(ids)
        redriven = 0
        try:
            # A second redrive at the same time takes over the transactional id, and the first one ends with an error.
            producer = dead_letter_producer(self._settings, f"{self._group}.redrive.{self._names[topic]}")
            try:
                producer.init_transactions()
                letters = [
                    kept
                    for kept in self._every(topic)
                    if kept.redriven_at_ns is None and (chosen is None or kept.id in chosen)
                ]
                for first in range(0, len(letters), _REDRIVE_LETTERS):
                    part = letters[first : first + _REDRIVE_LETTERS]
                    producer.begin_transaction()
                    appended = [self._append_again(producer, kept) for kept in part]
                    producer.commit_transaction()
                    redriven += len(part)
                    self._await_committed([future.get(timeout=1) for future in appended])
            finally:
                close_producer(producer, 1)
        except (KafkaError, OSError) as error:
            raise unavailable(error, "redrive") from error
        return redriven

    def _await_committed(self, appended: Sequence[Any]) -> None:
        """A transaction is decided before its mark is on every partition; readers see its records after the mark."""
        last: dict[tuple[str, int], int] = {}
        for each in appended:
            last[each.topic, each.partition] = max(each.offset, last.get((each.topic, each.partition), 0))
        until_s = time.monotonic() + self._settings.request_timeout_s
        while time.monotonic() < until_s:
            _, ends = self._admin.bounds(list(last))
            if all(ends[key] > offset for key, offset in last.items()):
                return
            time.sleep(0.02)

    def _append_again(self, producer: Any, kept: KeptDeadLetter) -> Any:
        source = kept.letter.source
        marked = {**source.headers, "redriven_from": f"{source.topic}/{source.partition}/{source.offset}"}
        headers = encode_headers(source.tenant, source.received_at_ns, source.items, 0, marked)
        name = self._names[source.topic]
        replaced = encode_redriven(kept.letter, kept.id, self._clock_ns())
        producer.send(dead_letter_topic(name), source.value, position_key(source), replaced, 0)
        return producer.send(name, source.value, headers=headers, partition=source.partition)

    def _every(self, topic: str | None = None, *, bodies: bool = True) -> Iterator[KeptDeadLetter]:
        wanted = {dead_letter_topic(self._names[each]): each for each in (self._names if topic is None else [topic])}
        existing = self._admin.topics(list(wanted))
        begins, ends = self._admin.bounds([(name, 0) for name in existing])
        for name, each in wanted.items():
            if name in existing:
                yield from self._of(each, name, begins[name, 0], ends[name, 0], bodies=bodies)

    def _of(self, topic: str, name: str, begin: int, end: int, *, bodies: bool) -> Iterator[KeptDeadLetter]:
        # Who looks every second keeps what it found, without the bodies.
        known_end, kept = (begin, {}) if bodies else self._known.get(topic, (begin, {}))
        for record, key in self._scanner.read({(name, 0): max(known_end, begin)}, {(name, 0): end}):
            found = decode_dead_letter(record if bodies else replace(record, value=b""))
            if found is None or key is None:
                continue
            before = kept.get(key)
            if found.redriven_at_ns is not None:
                kept[key] = KeptDeadLetter(found.id or 0, found.letter, found.redriven_at_ns)
            elif before is None:
                # Ids begin at 1, so that `--after 0` is all.
                kept[key] = KeptDeadLetter(record.offset + 1, found.letter)
        if not bodies:
            self._known[topic] = (end, kept)
        yield from sorted(kept.values(), key=lambda each: each.id)
