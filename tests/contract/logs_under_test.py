"""The implementations of the log contract, each as something that opens writers, readers and inspectors on one log."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader
from schemas.log import LogInspector, LogReader, LogWriter
from schemas.settings import LogSettings


class LogUnderTest(Protocol):
    """One empty log. Everything opened through it is closed by `close`."""

    max_record_bytes: int

    def writer(self) -> LogWriter: ...

    def reader(self, topic: str = "otlp_spans", group: str = "store") -> LogReader: ...

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

    def inspector(self, group: str = "store") -> SqliteLogInspector:
        inspector = SqliteLogInspector(self.path, group)
        self._opened.callback(inspector.close)
        return inspector

    def close(self) -> None:
        self._opened.close()


LOGS: dict[str, Callable[[Path], LogUnderTest]] = {"sqlite": SqliteLogUnderTest}
