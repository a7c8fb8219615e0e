"""What operators' commands read and do on a log on Kafka: the audit's snapshot, dead letters, redrive."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kafka import TopicPartition

from processors.arena import Arena
from processors.decode import decode
from processors.kafka_admin import Admin, Topic, sizes
from processors.kafka_letters import KafkaLetters
from processors.kafka_scan import TopicScanner
from schemas.kafka_log import (
    consumer_group,
    dead_letter_topic,
    decode_progress,
    topic_names,
)
from schemas.kafka_settings import KafkaSettings
from schemas.log import KeptDeadLetter, LogSnapshot, Progress, Record, TopicCount
from schemas.signals import signal_of

_Key = tuple[str, int]


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
        self._scanner = TopicScanner(settings)
        self._admin = Admin(settings)
        self._counted: dict[_Key, _Counted] = {}
        self._letters = KafkaLetters(settings, self._group, self._admin, self._scanner, clock_ns)
        self._arena = Arena()

    def starts(self) -> Mapping[_Key, int]:
        """See `LogInspector.starts`."""
        begins, _ = self._admin.bounds(_partitions(self._existing()))
        return {(self._topics[name], partition): offset for (name, partition), offset in begins.items()}

    def snapshot(self, since: Mapping[_Key, int] | None = None) -> LogSnapshot:
        """See `LogInspector.snapshot`. Where readers stand is read first: what is stored meanwhile counts as in flight.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        existing = self._existing()
        progress, begins, ends = self._standing(existing)
        self._count(begins, ends, since or {})
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
        log_ids = {self._topics[name]: topic.id for name, topic in existing.items()}
        return LogSnapshot(counts, progress, in_flight, waiting, records, oldest_ns, log_ids, counted_from)

    def positions(self) -> tuple[dict[_Key, Progress], dict[_Key, int]]:
        """Where readers stand, then where the topics end, by (topic, partition).

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        progress, _, ends = self._standing(self._existing())
        return progress, {(self._topics[name], partition): end for (name, partition), end in ends.items()}

    def waiting_letters(self) -> dict[tuple[str, str], int]:
        """Dead letters that wait, by (topic, tenant).

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        return self._letters.waiting()

    def size_bytes(self) -> int:
        """See `LogInspector.size_bytes`: all replicas of our topics on all brokers."""
        names = [*self._names.values(), *map(dead_letter_topic, self._names.values())]
        return sum(sizes(self._admin.ask(lambda admin: admin.describe_log_dirs(names))))

    def dead_letters(self, topic: str | None = None, *, limit: int = 100, after_id: int = 0) -> list[KeptDeadLetter]:
        """See `LogInspector.dead_letters`. Ids are unique within a topic.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        return self._letters.kept(topic, limit=limit, after_id=after_id)

    def newest(self, topic: str, limit: int) -> list[Record]:
        """See `LogInspector.newest`.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        existing = {name: each for name, each in self._existing().items() if self._topics[name] == topic}
        partitions = _partitions(existing)
        begins, ends = self._admin.bounds(partitions)
        each = -(-limit // max(len(partitions), 1))
        since = {key: max(begin, ends[key] - each) for key, begin in begins.items()}
        records = [replace(record, topic=topic) for record, _ in self._scanner.read(since, ends)]
        return sorted(records, key=lambda record: (record.partition, record.offset))

    def redrive(self, topic: str, ids: Sequence[int] | None = None) -> int:
        """See `LogInspector.redrive`.

        Raises:
            LogUnavailableError: brokers do not answer. What was redriven before stays redriven and marked.
        """
        return self._letters.redrive(topic, ids)

    def close(self) -> None:
        """See `LogInspector.close`."""
        self._scanner.close()
        self._admin.close()

    def _existing(self) -> dict[str, Topic]:
        return self._admin.topics(list(self._topics))

    def _standing(self, existing: Mapping[str, Topic]) -> tuple[dict[_Key, Progress], dict[_Key, int], dict[_Key, int]]:
        """Where readers stand, by default names; then where topics begin and end, by configured ones."""
        partitions = _partitions(existing)
        groups = {name: consumer_group(self._group, name) for name in existing}
        asked = {
            group: [TopicPartition(*each) for each in partitions if each[0] == name] for name, group in groups.items()
        }
        answered = self._admin.ask(lambda admin: admin.list_group_offsets(asked)) if asked else {}
        begins, ends = self._admin.bounds(partitions)
        progress: dict[_Key, Progress] = {}
        for name, partition in partitions:
            committed = answered.get(groups[name], {}).get(TopicPartition(name, partition))
            key = (self._topics[name], partition)
            if committed is None or committed.offset < 0:
                progress[key] = Progress(begins[name, partition])
            else:
                _, frozen = decode_progress(committed.metadata)
                progress[key] = Progress(committed.offset, frozen)
        return progress, begins, ends

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


def _partitions(existing: Mapping[str, Topic]) -> list[_Key]:
    return [(name, partition) for name, topic in existing.items() for partition in topic.partitions]
