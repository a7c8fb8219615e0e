"""The implementations of the log contract, each as something that opens writers, readers and inspectors on one log."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from ingest.kafka_log import KafkaLogWriter
from ingest.sqlite_log import SqliteLogWriter
from processors.kafka_log import KafkaLogReader
from processors.kafka_log_inspect import KafkaLogInspector
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader
from schemas.kafka_settings import KafkaSettings
from schemas.log import LogInspector, LogReader, LogWriter
from schemas.settings import LogSettings
from tests.testbed.kafka_broker import Broker


class LogUnderTest(Protocol):
    """One empty log. Everything opened through it is closed by `close`."""

    max_record_bytes: int

    def writer(self) -> LogWriter: ...

    def reader(self, topic: str = "otlp_spans", group: str = "store") -> LogReader:
        """A reader that owns partition 0; an earlier one of the same topic and group may have to make room for it."""

    def take_over(self) -> LogReader:
        """A reader that gets partition 0 of the spans, in group `store`, while the reader that has it does not look."""

    def inspector(self, group: str = "store") -> LogInspector: ...

    def close(self) -> None: ...


class SqliteLogUnderTest:
    max_record_bytes = 128 * 1024

    def __init__(self, folder: Path) -> None:
        self.path = folder / "log.sqlite"
        self.settings = LogSettings(max_bytes=64 * 1024 * 1024, max_record_bytes=self.max_record_bytes, retention_s=0)
        self._opened = contextlib.ExitStack()

    def writer(self) -> SqliteLogWriter:
        writer = SqliteLogWriter(self.path, self.settings)
        self._opened.callback(writer.close)
        return writer

    def reader(self, topic: str = "otlp_spans", group: str = "store") -> SqliteLogReader:
        reader = SqliteLogReader(self.path, topic, group)
        self._opened.callback(reader.close)
        return reader

    def take_over(self) -> SqliteLogReader:
        reader = self.reader()
        reader.progress(0)
        return reader

    def inspector(self, group: str = "store") -> SqliteLogInspector:
        inspector = SqliteLogInspector(self.path, group)
        self._opened.callback(inspector.close)
        return inspector

    def close(self) -> None:
        self._opened.close()


class KafkaLogUnderTest:
    """Topics of its own on the session's broker."""

    max_record_bytes = 128 * 1024

    def __init__(self, broker: Broker) -> None:
        name = uuid.uuid4().hex[:12]
        self.settings = KafkaSettings(
            bootstrap_servers=(broker.bootstrap,),
            group=f"group-{name}",
            traces_topic=f"{name}.spans",
            metrics_topic=f"{name}.metrics",
            logs_topic=f"{name}.logs",
            partitions=1,
            replication_factor=1,
            min_insync_replicas=1,
            session_timeout_s=6,
            max_poll_interval_s=3,
        )
        self._opened = contextlib.ExitStack()
        self._readers: dict[tuple[str, str], KafkaLogReader] = {}
        # Topics are there before anybody reads them, as `ingest` makes them before its first request.
        self.writer()

    def writer(self) -> KafkaLogWriter:
        writer = KafkaLogWriter(self.settings, self.max_record_bytes)
        writer.open()
        self._opened.callback(writer.close)
        return writer

    def reader(self, topic: str = "otlp_spans", group: str = "store") -> KafkaLogReader:
        before = self._readers.pop((topic, group), None)
        if before is not None:
            before.close()
        reader = self._readers[topic, group] = self._joining(topic, group)
        _until_owned(reader)
        return reader

    def take_over(self) -> KafkaLogReader:
        reader = self._joining("otlp_spans", "store")
        # The other one does not poll meanwhile: after max_poll_interval_s its membership ends.
        _until_owned(reader)
        return reader

    def _joining(self, topic: str, group: str) -> KafkaLogReader:
        reader = KafkaLogReader(self.settings, topic, f"{self.settings.group}.{group}")
        self._opened.callback(reader.close)
        return reader

    def inspector(self, group: str = "store") -> KafkaLogInspector:
        inspector = KafkaLogInspector(self.settings, f"{self.settings.group}.{group}")
        self._opened.callback(inspector.close)
        return inspector

    def close(self) -> None:
        self._readers.clear()
        self._opened.close()


def _until_owned(reader: KafkaLogReader) -> None:
    until_s = time.monotonic() + 60
    while not reader.partitions():
        assert time.monotonic() < until_s, "no partition within a minute"
        reader.wait(0.1)


def sqlite(folder: Path, _request: pytest.FixtureRequest) -> LogUnderTest:
    return SqliteLogUnderTest(folder)


def kafka(_folder: Path, request: pytest.FixtureRequest) -> LogUnderTest:
    return KafkaLogUnderTest(request.getfixturevalue("kafka"))


LOGS: dict[str, Callable[[Path, pytest.FixtureRequest], LogUnderTest]] = {"sqlite": sqlite, "kafka": kafka}
