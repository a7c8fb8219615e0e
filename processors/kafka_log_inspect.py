"""What operators' commands read and do on a log on Kafka: the audit's snapshot, dead letters, redrive."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kafka import KafkaAdminClient, TopicPartition
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError, KafkaError

from processors.arena import Arena
from processors.decode import decode
from processors.kafka_dead_letters import dead_letter_producer
from processors.kafka_log import topic_id
from processors.kafka_scan import TopicScanner
from schemas.errors import LogUnavailableError
from schemas.kafka_client import close_producer, opened
from schemas.kafka_errors import unavailable
from schemas.kafka_log import (
    connection_options,
    consumer_group,
    dead_letter_topic,
    decode_dead_letter,
    decode_progress,
    encode_headers,
    encode_redriven,
    position_key,
    topic_names,
)
from schemas.kafka_settings import KafkaSettings
from schemas.log import KeptDeadLetter, LogSnapshot, Progress, Record, TopicCount
from schemas.signals import signal_of

_Key = tuple[str, int]
_COORDINATOR_STARTS = (CoordinatorLoadInProgressError, CoordinatorNotAvailableError)
# One transaction of a redrive; a redrive that ends in the middle repeats nothing of those before it.
_REDRIVE_LETTERS = 64


@dataclass(slots=True)
class _Counted:
    """One partition as far as it was read: totals, and the records that were in flight at the last look, one by one."""

    since: int
    end: int
    totals: dict[str, list[int]] = field(default_factory=dict)
    waiting: deque[tuple[int, str, int, int]] = field(default_factory=deque)

    def add(self, record: Record, items: int) -> None:
        total = self.totals.setdefault(record.tenant, [0, 0, 0])
        for n, count in enumerate((1, items, record.rejected)):
            total[n] += count
        self.waiting.append((record.offset, record.tenant, items, record.received_at_ns))


class KafkaLogInspector:
    """`LogInspector` on a log on Kafka. A snapshot reads what the topics keep; later ones read on from there."""

    def __init__(
        self,
        settings: KafkaSettings,
        group: str | None = None,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        on_progress: Callable[[int, int], None] = lambda _read, _of: None,
    ) -> None:
        """`on_progress` is told after each record how many a snapshot has read, and of how many offsets."""
        self._on_progress = on_progress
        self._settings = settings
        self._names = topic_names(settings)
        self._topics = {name: topic for topic, name in self._names.items()}
        self._group = group or settings.group
        self._clock_ns = clock_ns
        self._scanner = TopicScanner(settings)
        self._admin = _Admin(settings)
        self._counted: dict[_Key, _Counted] = {}
        self._known_letters: dict[str, tuple[int, dict[bytes, KeptDeadLetter]]] = {}
        self._arena = Arena()

    def starts(self) -> Mapping[_Key, int]:
        """See `LogInspector.starts`."""
        begins, _ = self._scanner.bounds(self._configured())
        return {(self._topics[name], partition): offset for (name, partition), offset in begins.items()}

    def snapshot(self, since: Mapping[_Key, int] | None = None) -> LogSnapshot:
        """See `LogInspector.snapshot`. Where readers stand is read first: what is stored meanwhile counts as in flight.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        progress = self._progress()
        log_ids = {topic: topic_id(self._settings, self._names[topic]) for topic in {topic for topic, _ in progress}}
        since = dict(since or {})
        begins, ends = self._scanner.bounds(self._configured())
        self._count(begins, ends, since)
        counts: list[TopicCount] = []
        in_flight: Counter[tuple[str, int, str]] = Counter()
        records: Counter[tuple[str, int, str]] = Counter()
        oldest_ns: dict[tuple[str, int, str], int] = {}
        for (topic, partition), counted in sorted(self._counted.items()):
            counts += [TopicCount(topic, partition, tenant, *total) for tenant, total in counted.totals.items()]
            stored = progress.get((topic, partition), Progress(counted.since)).next_offset
            while counted.waiting and counted.waiting[0][0] < stored:
                counted.waiting.popleft()
            for _, tenant, items, received_at_ns in counted.waiting:
                key = (topic, partition, tenant)
                in_flight[key] += items
                records[key] += 1
                oldest_ns[key] = min(received_at_ns, oldest_ns.get(key, received_at_ns))
        waiting = self.waiting_letters()
        counted_from = {key: counted.since for key, counted in self._counted.items()}
        return LogSnapshot(counts, progress, in_flight, waiting, records, oldest_ns, log_ids, counted_from)

    def positions(self) -> tuple[dict[_Key, Progress], dict[_Key, int]]:
        """Where readers stand, then where the topics end, by (topic, partition).

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        progress = self._progress()
        _, ends = self._scanner.bounds([(self._names[topic], partition) for topic, partition in progress])
        return progress, {(self._topics[name], partition): end for (name, partition), end in ends.items()}

    def waiting_letters(self) -> dict[tuple[str, str], int]:
        """Dead letters that wait, by (topic, tenant). Their topics are read again only where they have grown.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        waiting: Counter[tuple[str, str]] = Counter()
        for kept in self._letters(bodies=False):
            if kept.redriven_at_ns is None:
                waiting[kept.letter.source.topic, kept.letter.source.tenant] += 1
        return waiting

    def size_bytes(self) -> int:
        """See `LogInspector.size_bytes`: all replicas of our topics on all brokers."""
        names = [*self._names.values(), *map(dead_letter_topic, self._names.values())]
        return sum(_sizes(self._admin.ask(lambda admin: admin.describe_log_dirs(names))))

    def dead_letters(self, topic: str | None = None, *, limit: int = 100, after_id: int = 0) -> list[KeptDeadLetter]:
        """See `LogInspector.dead_letters`. Ids are unique within a topic.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        found = [kept for kept in self._letters(topic) if kept.id > after_id]
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
                    for kept in self._letters(topic)
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

    def close(self) -> None:
        """See `LogInspector.close`."""
        self._scanner.close()
        self._admin.close()

    def _await_committed(self, appended: Sequence[Any]) -> None:
        """A transaction is decided before its mark is on every partition; readers see its records after the mark."""
        last: dict[_Key, int] = {}
        for each in appended:
            last[each.topic, each.partition] = max(each.offset, last.get((each.topic, each.partition), 0))
        until_s = time.monotonic() + self._settings.request_timeout_s
        while time.monotonic() < until_s:
            _, ends = self._scanner.bounds(list(last))
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

    def _configured(self) -> list[_Key]:
        return [(self._names[topic], partition) for topic, partition in self._scanner.partitions(self._names)]

    def _progress(self) -> dict[_Key, Progress]:
        partitions = self._configured()
        groups = {name: consumer_group(self._group, name) for name, _ in partitions}
        asked = {
            group: [TopicPartition(*each) for each in partitions if each[0] == name] for name, group in groups.items()
        }
        answered = self._admin.ask(lambda admin: admin.list_group_offsets(asked)) if asked else {}
        begins, _ = self._scanner.bounds(partitions)
        progress: dict[_Key, Progress] = {}
        for name, partition in partitions:
            committed = answered.get(groups[name], {}).get(TopicPartition(name, partition))
            key = (self._topics[name], partition)
            if committed is None or committed.offset < 0:
                progress[key] = Progress(begins[name, partition])
            else:
                _, frozen = decode_progress(committed.metadata)
                progress[key] = Progress(committed.offset, frozen)
        return progress

    def _count(self, begins: Mapping[_Key, int], ends: Mapping[_Key, int], since: Mapping[_Key, int]) -> None:
        read_from: dict[_Key, int] = {}
        for (name, partition), begin in begins.items():
            key = (self._topics[name], partition)
            counted = self._counted.get(key)
            wanted = max(begin, since.get(key, counted.since if counted else begin))
            if counted is None or counted.since != wanted:
                self._counted[key] = _Counted(wanted, wanted)
            read_from[name, partition] = self._counted[key].end
        offsets = sum(max(0, ends[key] - begin) for key, begin in read_from.items())
        for number, (record, _) in enumerate(self._scanner.read(read_from, ends), 1):
            topic = self._topics[record.topic]
            self._counted[topic, record.partition].add(record, self._items(topic, record))
            self._on_progress(number, offsets)
        for (name, partition), end in ends.items():
            self._counted[self._topics[name], partition].end = max(end, read_from[name, partition])

    def _items(self, topic: str, record: Record) -> int:
        if record.items is not None:
            return record.items
        # A Collector's: counted as the ledger counts it.
        return int(decode(signal_of(topic), [record], self._arena).items[0])

    def _letters(self, topic: str | None = None, *, bodies: bool = True) -> Iterator[KeptDeadLetter]:
        for each in self._names if topic is None else [topic]:
            yield from self._letters_of(each, bodies=bodies)

    def _letters_of(self, topic: str, *, bodies: bool) -> Iterator[KeptDeadLetter]:
        where = (dead_letter_topic(self._names[topic]), 0)
        if not self._scanner.partitions({where[0]: where[0]}):
            return
        begins, ends = self._scanner.bounds([where])
        # Who looks every second keeps what it found, without the bodies.
        known_end, kept = (begins[where], {}) if bodies else self._known_letters.get(topic, (begins[where], {}))
        for record, key in self._scanner.read({where: max(known_end, begins[where])}, ends):
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
            self._known_letters[topic] = (ends[where], kept)
        yield from sorted(kept.values(), key=lambda each: each.id)


class _Admin:
    """An admin client that opens at the first question and again after a failure; its errors are ours."""

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._client: KafkaAdminClient | None = None

    def ask(self, question: Callable[[KafkaAdminClient], Any]) -> Any:
        # A cluster makes the topic of its groups when the first one is asked for, and refuses until it has leaders.
        until_s = time.monotonic() + self._settings.request_timeout_s
        while True:
            try:
                return self._ask_once(question)
            except LogUnavailableError as error:
                if not isinstance(error.__cause__, _COORDINATOR_STARTS) or time.monotonic() > until_s:
                    raise
                time.sleep(0.2)

    def _ask_once(self, question: Callable[[KafkaAdminClient], Any]) -> Any:
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
            raise unavailable(error) from error

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()


def _sizes(found: object) -> Iterator[int]:
    """Every `size` of the partitions in the nested answer of DescribeLogDirs."""
    if isinstance(found, dict):
        for name, value in found.items():
            if name in ("partition_size", "size") and isinstance(value, int):
                yield value
            else:
                yield from _sizes(value)
    elif isinstance(found, list):
        for value in found:
            yield from _sizes(value)
