"""The embedded log's reading side: one consumer group on one topic of the SQLite file."""

from __future__ import annotations

import sqlite3
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

from processors.sqlite_log_inspect import SqliteLogInspector
from processors.sqlite_log_link import PARTITION, open_link, record_columns, record_of
from processors.sqlite_log_retention import SqliteLogRetention
from schemas.errors import FencedError, LogUnavailableError
from schemas.log import DeadLetter, OffsetRange, Progress, Record
from schemas.sqlite_bodies import packed
from schemas.sqlite_log import END_OFFSET, INSERT_BODY, LOG_ID, NEXT_BODY, encode_headers, single
from schemas.sqlite_shared import SharedLog

__all__ = ["SqliteLogInspector", "SqliteLogReader", "SqliteLogRetention"]

# How often a waiting reader looks for appends of other processes: the pipeline's when the writer is not in this
# process, else only an operator's redrive.
_POLL_S = 0.04
_POLL_BESIDE_WRITER_S = 0.5

_CLAIM = (
    "INSERT INTO progress (consumer_group, topic, next_offset, owner) VALUES (?, ?, 0, ?)"
    " ON CONFLICT DO UPDATE SET owner = excluded.owner"
)
_PROGRESS = "SELECT next_offset, frozen_last, owner FROM progress WHERE consumer_group = ? AND topic = ?"
_FREEZE = "UPDATE progress SET frozen_last = ? WHERE consumer_group = ? AND topic = ?"
_COMMIT = "UPDATE progress SET next_offset = ?, frozen_last = NULL WHERE consumer_group = ? AND topic = ?"
_SIZES = "SELECT offset, size_bytes FROM records WHERE topic = ? AND offset BETWEEN ? AND ? ORDER BY offset LIMIT ?"
_RECORDS = (
    f"SELECT {record_columns('r')}"
    " FROM records r JOIN bodies b ON b.id = r.body_id WHERE r.topic = ? AND r.offset BETWEEN ? AND ? ORDER BY r.offset"
)
_IS_KEPT = "SELECT 1 FROM dead_letters WHERE topic = ? AND partition = ? AND offset = ?"
_KEEP = (
    "INSERT INTO dead_letters (topic, partition, offset, body_id, size_bytes, items, rejected, received_at_ns, tenant,"
    " headers, reason, message, failed_at_ns) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_LAST_OFFSET = 2**63 - 1


class SqliteLogReader:
    """`LogReader` on one topic of an embedded log, which has one partition: 0.

    Opens the file at first use, so that it may be made before the log is. The newest reader of a group and topic owns
    it: an older one may read on, but its next freeze or commit raises FencedError.

    Args:
        path: the log's file.
        topic: what to read.
        group: the consumer group whose progress is kept. Retention waits for every group that ever read the topic.
    """

    def __init__(self, path: Path, topic: str, group: str = "store") -> None:
        self._topic = topic
        self._group = group
        self._owner = uuid.uuid4().hex
        self._claimed = False
        self._log_id: str | None = None
        self._fenced = False
        self._closed = False
        self._link = open_link(path)
        self._shared: SharedLog = self._link.shared
        self._version_seen = -1
        self._end_seen = -1
        self._data_version = -1

    def partitions(self) -> Sequence[int]:
        """See `LogReader.partitions`."""
        return () if self._fenced else (PARTITION,)

    def log_id(self) -> str:
        """See `LogReader.log_id`."""
        if self._log_id is None:
            with self._link.read() as connection:
                self._log_id = str(connection.execute(LOG_ID).fetchone()[0])
        return self._log_id

    def progress(self, partition: int) -> Progress:
        """See `LogReader.progress`.

        Raises:
            LogUnavailableError: the log cannot be read now.
        """
        self._check(partition)
        with self._link.read() as connection:
            next_offset, frozen_last, _ = connection.execute(_PROGRESS, (self._group, self._topic)).fetchone()
        return Progress(next_offset, None if frozen_last is None else OffsetRange(next_offset, frozen_last))

    def read(
        self, partition: int, first: int, *, last: int | None = None, max_records: int, max_bytes: int
    ) -> list[Record]:
        """See `LogReader.read`."""
        self._check(partition)
        self._version_seen = self._shared.version(self._topic)
        bound = _LAST_OFFSET if last is None else last
        with self._link.read() as connection:
            self._end_seen = single(connection, END_OFFSET, (self._topic,))
            fits = self._last_that_fits(connection, first, bound, max_records, max_bytes)
            if fits is None:
                return []
            rows = connection.execute(_RECORDS, (self._topic, first, fits)).fetchall()
        return [record_of(self._topic, row) for row in rows]

    def wait(self, timeout_s: float) -> None:
        """See `LogReader.wait`: "arrived" means since the last `read` began."""
        deadline_s = time.monotonic() + timeout_s
        while not self._closed:
            left_s = deadline_s - time.monotonic()
            poll_s = _POLL_BESIDE_WRITER_S if self._shared.writers else _POLL_S
            if self._shared.wait(self._topic, self._version_seen, max(0.0, min(left_s, poll_s))):
                return
            if left_s <= 0 or self._other_appended():
                return

    def freeze(self, partition: int, last: int) -> OffsetRange:
        """See `LogReader.freeze`. Freezing the frozen range again changes nothing.

        Raises:
            LogUnavailableError: the log cannot be written now; nothing is frozen.
        """
        self._check(partition)
        with self._link.write() as connection:
            next_offset, frozen_last = self._owned_progress(connection)
            end = single(connection, END_OFFSET, (self._topic,))
            if frozen_last is not None and frozen_last != last:
                raise ValueError(f"freeze: offsets {next_offset}..{frozen_last} are frozen; received last = {last}")
            if not next_offset <= last < end:
                raise ValueError(f"freeze: last must be in {next_offset}..{end - 1}; received {last}")
            connection.execute(_FREEZE, (last, self._group, self._topic))
        return OffsetRange(next_offset, last)

    def commit(self, partition: int, dead_letters: Sequence[DeadLetter] = ()) -> None:
        """See `LogReader.commit`.

        Raises:
            LogUnavailableError: the log cannot be written now; nothing is committed.
        """
        self._check(partition)
        with self._link.write() as connection:
            _, frozen_last = self._owned_progress(connection)
            if frozen_last is None:
                raise ValueError(f"commit: nothing is frozen for group {self._group!r} on {self._topic!r}")
            for letter in dead_letters:
                _keep(connection, letter)
            connection.execute(_COMMIT, (frozen_last + 1, self._group, self._topic))

    def end_offset(self, partition: int) -> int:
        """See `LogReader.end_offset`.

        Raises:
            LogUnavailableError: the log cannot be read now.
        """
        self._check(partition)
        with self._link.read() as connection:
            return single(connection, END_OFFSET, (self._topic,))

    def close(self) -> None:
        """See `LogReader.close`."""
        self._closed = True
        self._shared.wake_all()
        self._link.close()

    def _check(self, partition: int) -> None:
        if partition != PARTITION:
            raise ValueError(f"partition must be {PARTITION}: the embedded log has one; received {partition}")
        if not self._claimed and not self._closed:
            with self._link.write() as connection:
                connection.execute(_CLAIM, (self._group, self._topic, self._owner))
            self._claimed = True

    def _owned_progress(self, connection: sqlite3.Connection) -> tuple[int, int | None]:
        next_offset, frozen_last, owner = connection.execute(_PROGRESS, (self._group, self._topic)).fetchone()
        if owner != self._owner:
            self._fenced = True
            raise FencedError(f"another reader of group {self._group!r} took over {self._topic!r}")
        return next_offset, frozen_last

    def _last_that_fits(
        self, connection: sqlite3.Connection, first: int, last: int, max_records: int, max_bytes: int
    ) -> int | None:
        fits: int | None = None
        left_bytes = max_bytes
        for offset, size_bytes in connection.execute(_SIZES, (self._topic, first, last, max(1, max_records))):
            left_bytes -= size_bytes
            if fits is not None and left_bytes < 0:
                break
            fits = offset
        return fits

    def _other_appended(self) -> bool:
        try:
            with self._link.bare() as connection:
                version = single(connection, "PRAGMA data_version")
                if version == self._data_version:
                    return False
                end = single(connection, END_OFFSET, (self._topic,))
        except LogUnavailableError:
            return False
        self._data_version = version
        return end > self._end_seen


def _keep(connection: sqlite3.Connection, letter: DeadLetter) -> None:
    source = letter.source
    position = (source.topic, source.partition, source.offset)
    if connection.execute(_IS_KEPT, position).fetchone():
        return
    body_id = single(connection, NEXT_BODY)
    connection.execute(INSERT_BODY, (body_id, *packed(source.value)))
    connection.execute(_KEEP, (*position, body_id, len(source.value), source.items, source.rejected,
                               source.received_at_ns, source.tenant, encode_headers(source.headers),
                               letter.reason, letter.message, letter.failed_at_ns))  # fmt: skip
