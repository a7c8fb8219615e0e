"""A topic that takes nothing, for somebody deleted it, holds up no other topic of a real broker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from ingest.admission import Admission
from ingest.append import Appender
from ingest.kafka_log import KafkaLogWriter
from ingest.settings import IngestSettings
from ingest.tally import Tally
from schemas.errors import LogUnavailableError
from schemas.kafka_settings import KafkaSettings
from schemas.signals import Signal
from tests.kafka_broker import Broker, fresh_name


@pytest.fixture
def settings(kafka: Broker) -> KafkaSettings:
    name = fresh_name("apart")
    return KafkaSettings(
        bootstrap_servers=(kafka.bootstrap,),
        traces_topic=f"{name}.spans",
        metrics_topic=f"{name}.metrics",
        logs_topic=f"{name}.logs",
        partitions=1,
        replication_factor=1,
        min_insync_replicas=1,
        delivery_timeout_s=4,
        request_timeout_s=2,
    )


@pytest.fixture
def appender(settings: KafkaSettings) -> Iterator[Appender]:
    log = KafkaLogWriter(settings, 1 << 20)
    log.open()
    admin = KafkaAdminClient(bootstrap_servers=list(settings.bootstrap_servers))
    admin.delete_topics([settings.logs_topic])
    admin.close()
    chosen = IngestSettings()
    made = Appender(log, chosen, Tally(Admission(chosen)))
    yield made
    made.close()
    log.close()


def records(settings: KafkaSettings, topic: str) -> int:
    consumer = KafkaConsumer(bootstrap_servers=list(settings.bootstrap_servers))
    try:
        end: int = consumer.end_offsets([TopicPartition(topic, 0)])[TopicPartition(topic, 0)]
        return end
    finally:
        consumer.close()


def test_a_topic_that_takes_nothing_holds_up_no_other(appender: Appender, settings: KafkaSettings) -> None:
    # Both producers are connected before anything is compared.
    for signal in (Signal.TRACES, Signal.METRICS):
        appender.submit(signal, "", b"first", 1, 0).result(30)
    stalled = appender.submit(Signal.LOGS, "", b"log", 1, 0)
    taken = 0
    while not stalled.done() and taken < 50:
        appender.submit(Signal.TRACES, "", b"span", 1, 0).result(30)
        appender.submit(Signal.METRICS, "", b"point", 1, 0).result(30)
        taken += 1
    assert taken == 50, "others waited for the topic that stalls"
    assert not stalled.done()
    with pytest.raises(LogUnavailableError, match="kafka"):
        stalled.result(30)
    # The producer that failed was thrown away; those of others hold what they held.
    appender.submit(Signal.TRACES, "", b"span", 1, 0).result(30)
    assert appender.failure is None
    # The topic is looked for, and made again, before it is next written to.
    appender.submit(Signal.LOGS, "", b"log", 1, 0).result(30)
    assert records(settings, settings.traces_topic) == 52
    assert records(settings, settings.metrics_topic) == 51
    assert records(settings, settings.logs_topic) == 1
