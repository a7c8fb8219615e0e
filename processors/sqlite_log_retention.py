"""Retention of the embedded log: deletes what every group has stored, by age and ahead of the size bound."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from processors.sqlite_log_link import open_link
from schemas.settings import LogSettings
from schemas.sqlite_log import PAGE_BYTES, TRIM_RECORDS, live_bytes, single, trim, trim_oldest_stored, wal_bound

# Below the bound at which an append would have to delete by itself.
_FULL_SHARE = 0.9
# The file keeps free pages for the next appends; only a file that is mostly free, and large, gives some back.
_SHRINK_ABOVE_BYTES = 256 * 1024 * 1024
_SHRINK_STEP_PAGES = 256
# Marks are spaced so that a topic has few of them however often the pipeline commits.
_MARKS_PER_RETENTION = 64

_STORED = "SELECT topic, next_offset FROM stored ORDER BY topic"
_NEWEST_MARK = "SELECT offset, at_ns FROM stored_marks WHERE topic = ? ORDER BY offset DESC LIMIT 1"
_ADD_MARK = "INSERT INTO stored_marks (topic, offset, at_ns) VALUES (?, ?, ?)"
_CAP_MARKS = "UPDATE stored_marks SET at_ns = ?1 WHERE at_ns > ?1"
_CAP_LETTERS = "UPDATE dead_letters SET redriven_at_ns = ?1 WHERE redriven_at_ns > ?1"
_OLD_MARK = "SELECT COALESCE(MAX(offset), 0) FROM stored_marks WHERE topic = ? AND at_ns <= ?"
# The newest mark stays: the next one is spaced from it.
_DELETE_MARKS = (
    "DELETE FROM stored_marks WHERE topic = ?1 AND offset <= ?2"
    " AND offset < (SELECT MAX(offset) FROM stored_marks WHERE topic = ?1)"
)
_OLD_LETTERS = (
    "SELECT d.id, d.body_id FROM dead_letters d JOIN stored s ON s.topic = d.topic"
    " WHERE d.redriven_at_ns <= ? AND d.offset < s.next_offset ORDER BY d.id LIMIT ?"
)


class SqliteLogRetention:
    """Call `trim` every few seconds, from one thread of the pipeline.

    What a group has yet to store is never deleted, whatever its age and the size of the log; nor is a dead letter that
    waits. Age is counted from when every group had stored a record, at the clock of this process: a clock that steps
    back delays a deletion by at most the retention, one that steps forward deletes early what is stored anyway.

    Args:
        path: the log's file; it is never created here.
        settings: retention and size bound.
        clock_ns: the wall clock, Unix nanoseconds.
    """

    def __init__(self, path: Path, settings: LogSettings, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._comfortable_bytes = (settings.max_bytes - wal_bound(settings.max_bytes)) * _FULL_SHARE
        self._retention_ns = int(settings.retention_s * 1e9)
        self._clock_ns = clock_ns
        self._link = open_link(path)

    def trim(self) -> int:
        """Delete what is due, in transactions short enough not to hold up appends; returns how many records.

        Raises:
            LogUnavailableError: the log cannot be written now; try again later.
        """
        now_ns = self._clock_ns()
        deleted = 0
        for topic, before in self._due(now_ns):
            while True:
                with self._link.write() as connection:
                    records, _ = trim(connection, topic, before)
                deleted += records
                if records < TRIM_RECORDS:
                    break
        while self._over_size():
            with self._link.write() as connection:
                records, _ = trim_oldest_stored(connection)
            deleted += records
            if not records:
                break
        self._forget_redriven(now_ns)
        self._shrink()
        return deleted

    def close(self) -> None:
        """Release the log."""
        self._link.close()

    def _due(self, now_ns: int) -> list[tuple[str, int]]:
        with self._link.read() as connection:
            stored = connection.execute(_STORED).fetchall()
            if not any(self._mark_is_due(connection, topic, end, now_ns) for topic, end in stored):
                return [(topic, self._old(connection, topic, now_ns)) for topic, _ in stored]
        with self._link.write() as connection:
            connection.execute(_CAP_MARKS, (now_ns,))
            for topic, end in stored:
                if self._mark_is_due(connection, topic, end, now_ns):
                    connection.execute(_ADD_MARK, (topic, end, now_ns))
            due = [(topic, self._old(connection, topic, now_ns)) for topic, _ in stored]
            for topic, before in due:
                connection.execute(_DELETE_MARKS, (topic, before))
        return due

    def _mark_is_due(self, connection: sqlite3.Connection, topic: str, end: int, now_ns: int) -> bool:
        newest = connection.execute(_NEWEST_MARK, (topic,)).fetchone()
        if newest is None:
            return end > 0
        offset, at_ns = int(newest[0]), int(newest[1])
        stepped_back = at_ns > now_ns
        return stepped_back or (end > offset and now_ns - at_ns >= self._retention_ns // _MARKS_PER_RETENTION)

    def _old(self, connection: sqlite3.Connection, topic: str, now_ns: int) -> int:
        return single(connection, _OLD_MARK, (topic, now_ns - self._retention_ns))

    def _over_size(self) -> bool:
        with self._link.bare() as connection:
            return live_bytes(connection) > self._comfortable_bytes

    def _forget_redriven(self, now_ns: int) -> None:
        with self._link.read() as connection:
            stepped_back = connection.execute(
                "SELECT 1 FROM dead_letters WHERE redriven_at_ns > ?", (now_ns,)
            ).fetchone()
            old = connection.execute(_OLD_LETTERS, (now_ns - self._retention_ns, TRIM_RECORDS)).fetchall()
        if not old and not stepped_back:
            return
        with self._link.write() as connection:
            connection.execute(_CAP_LETTERS, (now_ns,))
            connection.executemany("DELETE FROM dead_letters WHERE id = ?", [(letter_id,) for letter_id, _ in old])
            connection.executemany("DELETE FROM bodies WHERE id = ?", [(body_id,) for _, body_id in old])

    def _shrink(self) -> None:
        with self._link.bare() as connection:
            pages = single(connection, "PRAGMA page_count")
            free = single(connection, "PRAGMA freelist_count")
            if free * PAGE_BYTES < _SHRINK_ABOVE_BYTES or free * 2 < pages:
                return
        with self._link.shared.turn, self._link.bare() as connection:
            # The pragma gives back one page a step and answers no column, so that only a script steps it to its end.
            connection.executescript(f"PRAGMA incremental_vacuum({_SHRINK_STEP_PAGES})")
