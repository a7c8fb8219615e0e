"""The one place that says where the log is, as `store_access` does for the store: embedded, or on Kafka."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ingest.kafka_log import KafkaLogWriter
from ingest.sqlite_log import SqliteLogWriter
from processors.kafka_log import KafkaLogReader
from processors.kafka_log_inspect import KafkaLogInspector
from processors.kafka_standing import KafkaStanding
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader, SqliteLogRetention
from schemas.errors import LogUnavailableError
from schemas.log import LogInspector, LogReader, LogWriter
from schemas.signals import Signal, topic
from sluiceway.commands.options import log_path
from sluiceway.config import Config
from sluiceway.figures import LogFigures


class LogAccess:
    """Opens the sides of one log; holds none itself and may be shared by threads.

    Attributes:
        on_kafka: whether the log is on Kafka; it then goes on without us, and nothing of it is ours to trim or drain.
        path: the embedded log's file.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self.on_kafka = config.kafka.enabled
        self.path: Path = log_path(config)

    @property
    def where(self) -> str:
        """For people."""
        return f"Kafka at {', '.join(self._config.kafka.bootstrap_servers)}" if self.on_kafka else str(self.path)

    def writer(self) -> LogWriter:
        """The writing side. The embedded log's file is made where it is missing.

        Raises:
            ConfigurationError: another process writes the file, or a setting is refused.
        """
        config = self._config
        if self.on_kafka:
            return KafkaLogWriter(config.kafka, config.log.max_record_bytes)
        return SqliteLogWriter(self.path, config.log)

    @staticmethod
    def prepare(writer: LogWriter) -> None:
        """Make what readers need where it is missing: the topics.

        Raises:
            LogUnavailableError: no broker answers; the first append tries again.
        """
        if isinstance(writer, KafkaLogWriter):
            writer.open()

    def reader(self, signal: Signal) -> LogReader:
        """The reading side of a signal's topic, in the group that writes to the store."""
        if self.on_kafka:
            return KafkaLogReader(self._config.kafka, topic(signal))
        return SqliteLogReader(self.path, topic(signal))

    @contextmanager
    def inspected(self, on_progress: Callable[[int, int], None] | None = None) -> Iterator[LogInspector]:
        """What a command looks with, closed on leaving.

        Args:
            on_progress: told how many records were read, and of how many, where a snapshot has to read them.

        Raises:
            LogUnavailableError: there is no log yet.
        """
        if not self.on_kafka and not self.path.is_file():
            raise LogUnavailableError(f"no log at {self.path}; name the data folder with --data-dir")
        opened: LogInspector
        if self.on_kafka:
            opened = KafkaLogInspector(self._config.kafka, on_progress=on_progress or (lambda _read, _of: None))
        else:
            opened = SqliteLogInspector(self.path)
        try:
            yield opened
        finally:
            opened.close()

    def figures(self) -> LogFigures:
        """How far behind the log is, for the viewer and our own metrics."""
        if self.on_kafka:
            return LogFigures(KafkaStanding(KafkaLogInspector(self._config.kafka)), None)
        return LogFigures(SqliteLogInspector(self.path), self._config.log.max_bytes)

    def retention(self) -> SqliteLogRetention | None:
        """What deletes stored records; None where brokers do."""
        return None if self.on_kafka else SqliteLogRetention(self.path, self._config.log)
