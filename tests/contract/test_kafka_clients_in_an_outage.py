"""Tries against a broker that is away: whoever tries for hours may not run out of threads or descriptors."""

from __future__ import annotations

import gc
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ingest.kafka_topics import prepare
from processors.kafka_log import topic_id
from processors.kafka_log_inspect import KafkaLogInspector
from processors.kafka_member import Membership
from schemas.errors import LogUnavailableError
from schemas.kafka_settings import KafkaSettings
from testbed.parts import free_ports

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
    topic_id(settings, "otlp_spans")


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
        counted.append((threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))))

    assert counted[-1] == counted[0]
