"""What a snapshot of a log on Kafka reads: each record once, however often it is taken, and it says how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from processors.kafka_admin import Admin
from processors.kafka_log_inspect import KafkaLogInspector
from schemas.errors import LogUnavailableError
from schemas.kafka_log import topic_names
from schemas.log import Entry
from tests.contract.logs_under_test import KafkaLogUnderTest
from tests.testbed.kafka_broker import Broker


@pytest.fixture
def log(kafka: Broker) -> Iterator[KafkaLogUnderTest]:
    opened = KafkaLogUnderTest(kafka)
    yield opened
    opened.close()


def test_a_snapshot_tells_its_progress_and_the_next_one_reads_only_what_came_since(log: KafkaLogUnderTest) -> None:
    told: list[tuple[int, int]] = []
    inspector = KafkaLogInspector(log.settings, on_progress=lambda read, of: told.append((read, of)))
    writer = log.writer()
    writer.append([Entry("otlp_spans", b"", items=number) for number in (1, 2, 3)])

    [count] = inspector.snapshot().counts
    assert (count.records, count.items, told) == (3, 6, [(1, 3), (2, 3), (3, 3)])

    told.clear()
    writer.append([Entry("otlp_spans", b"", items=4)])
    [count] = inspector.snapshot().counts
    assert (count.records, count.items, told) == (4, 10, [(1, 1)])
    inspector.close()


def test_a_snapshot_may_begin_later_than_the_log(log: KafkaLogUnderTest) -> None:
    log.writer().append([Entry("otlp_spans", b"", items=number) for number in (1, 2, 3)])
    inspector = log.inspector()
    assert inspector.starts()["otlp_spans", 0] == 0

    snapshot = inspector.snapshot({("otlp_spans", 0): 1})

    [count] = snapshot.counts
    assert (count.records, count.items) == (2, 5)
    assert snapshot.counted_from["otlp_spans", 0] == 1


def test_topics_and_where_they_end_are_the_brokers_answer(log: KafkaLogUnderTest) -> None:
    """Not what a client remembers of the cluster: that shrinks to the topics it reads, and the rest is missed."""
    log.writer().append([Entry("otlp_spans", b"", items=1), Entry("otlp_logs", b"", items=1)])
    names = topic_names(log.settings)
    with closing(Admin(log.settings)) as admin:
        there = admin.topics([names["otlp_spans"], "no_such_topic", names["otlp_logs"]])
        assert there.keys() == {names["otlp_spans"], names["otlp_logs"]}
        assert there[names["otlp_spans"]].id == admin.topic_id(names["otlp_spans"])
        partitions = [(name, partition) for name, topic in there.items() for partition in topic.partitions]
        begins, ends = admin.bounds(partitions)
    assert (begins.keys(), ends.keys()) == (set(partitions), set(partitions))
    assert sum(ends.values()) - sum(begins.values()) == 2
    with closing(Admin(log.settings)) as admin, pytest.raises(LogUnavailableError, match="no_such_topic"):
        admin.topic_id("no_such_topic")
