"""Tries against a broker that is away: whoever tries for hours may not run out of threads or descriptors."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from ingest.kafka_log import KafkaLogWriter
from ingest.kafka_topics import prepare
from processors.kafka_admin import Admin
from processors.kafka_log_inspect import KafkaLogInspector
from processors.kafka_member import Membership
from schemas.errors import LogUnavailableError
from schemas.kafka_settings import KafkaSettings
from schemas.log import Entry
from tests.kafka_broker import Broker, fresh_name, require_broker
from tests.testbed.parts import free_ports

TRIES = 3


def _inspect(settings: KafkaSettings) -> None:
    inspector = KafkaLogInspector(settings)
    try:
        inspector.snapshot()
    finally:
        inspector.close()


def _join(settings: KafkaSettings) -> None:
    Membership(settings, "otlp_spans", "group", 1 << 20)


def _prepare(settings: KafkaSettings) -> None:
    prepare(settings, 1 << 20)


def _ask_topic_id(settings: KafkaSettings) -> None:
    with closing(Admin(settings)) as admin:
        admin.topic_id("otlp_spans")


@pytest.fixture(autouse=True)
def _silent() -> Iterator[None]:
    """pytest keeps what is logged, exceptions with their frames and sockets included."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("attempt", [_prepare, _ask_topic_id, _inspect, _join])
def test_a_try_that_failed_leaves_no_thread_and_no_descriptor(attempt: Callable[[KafkaSettings], None]) -> None:
    (nobody,) = free_ports(1)
    settings = KafkaSettings(bootstrap_servers=(f"127.0.0.1:{nobody}",), delivery_timeout_s=0.3, request_timeout_s=0.6)
    counted = []
    for _ in range(TRIES):
        with pytest.raises(LogUnavailableError):
            attempt(settings)
        # A socket that was refused waits for the collector; nothing holds it.
        gc.collect()
        counted.append((set(threading.enumerate()), len(list(Path("/proc/self/fd").iterdir()))))

    (first_threads, first_descriptors), *_, (threads, descriptors) = counted
    # One of an earlier test may end meanwhile.
    assert threads <= first_threads
    # One that every try left would be as many as tries after the first; the session opens one of its own now and then.
    assert descriptors - first_descriptors < TRIES - 1


def test_an_append_to_a_broker_that_does_not_move_fails_as_documented_and_leaves_no_thread(tmp_path: Path) -> None:
    require_broker()
    with Broker(tmp_path / "kafka") as broker:
        settings = KafkaSettings(
            bootstrap_servers=(broker.bootstrap,), traces_topic=fresh_name("spans"), replication_factor=1,
            min_insync_replicas=1, delivery_timeout_s=5, request_timeout_s=2,
        )  # fmt: skip
        writer = KafkaLogWriter(settings, 1 << 20)
        entries = [Entry("otlp_spans", b"record", items=1)]
        before = set(threading.enumerate())
        for _ in range(2):
            writer.append(entries)
            broker.freeze()
            started_s, cpu_s = time.monotonic(), time.process_time()
            # What was sent waits for its answer still when the producer is given up.
            with pytest.raises(LogUnavailableError):
                writer.append(entries)
            waited_s, used_s = time.monotonic() - started_s, time.process_time() - cpu_s
            # Who waits does not look all the time: the client took a whole CPU for it.
            assert used_s < waited_s / 3
            broker.thaw()
        writer.close()
        left = set(threading.enumerate()) - before
        for thread in left:
            thread.join(20)
        assert [thread.name for thread in left if thread.is_alive()] == []
