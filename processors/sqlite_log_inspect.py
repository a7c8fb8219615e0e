"""What operators' commands read and do on the embedded log: the audit's snapshot, dead letters, redrive."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from processors.sqlite_log_link import PARTITION, open_link, record_columns, record_of
from schemas.log import DeadLetter, KeptDeadLetter, LogSnapshot, OffsetRange, Progress, Record, TopicCount
from schemas.signals import NAMES
from schemas.sqlite_log import (
    ADD_COUNTS,
    END_OFFSET,
    INSERT_RECORD,
    LOG_ID,
    NEXT_BODY,
    decode_headers,
    encode_headers,
    single,
)

# One redrive transaction holds the write lock against the appends of the pipeline for milliseconds, not seconds.
_REDRIVE_RECORDS = 64
_REDRIVE_BYTES = 16 * 1024 * 1024

_COUNTS = "SELECT topic, tenant, records, items, rejected FROM counts ORDER BY topic, tenant"
_PROGRESS = (
    "SELECT c.topic, COALESCE(p.next_offset, 0), p.frozen_last FROM"
    " (SELECT topic FROM counts UNION SELECT topic FROM progress WHERE consumer_group = ?1) c"
    " LEFT JOIN progress p ON p.topic = c.topic AND p.consumer_group = ?1 ORDER BY c.topic"
)
_IN_FLIGHT = (
    "SELECT tenant, SUM(items), COUNT(*), MIN(received_at_ns) FROM records WHERE topic = ? AND offset >= ?"
    " GROUP BY tenant ORDER BY tenant"
)
_WAITING_COUNTS = (
    "SELECT topic, tenant, COUNT(*) FROM dead_letters WHERE redriven_at_ns IS NULL GROUP BY topic, tenant"
    " ORDER BY topic, tenant"
)
_LETTERS = (
    f"SELECT d.id, d.topic, d.partition, {record_columns('d')}, d.reason, d.message, d.failed_at_ns, d.redriven_at_ns"
    " FROM dead_letters d JOIN bodies b ON b.id = d.body_id"
)
_NEWEST = (
    f"SELECT {record_columns('r')}"
    " FROM records r JOIN bodies b ON b.id = r.body_id WHERE r.topic = ? ORDER BY r.offset DESC LIMIT ?"
)
_NEWEST_LETTER = "SELECT COALESCE(MAX(id), 0) FROM dead_letters"
_WAITING = (
    "SELECT id, partition, offset, body_id, size_bytes, COALESCE(items, 0), received_at_ns, tenant, headers"
    " FROM dead_letters WHERE topic = ? AND id > ? AND id <= ? AND redriven_at_ns IS NULL ORDER BY id LIMIT ?"
)
_COPY_BODY = "INSERT INTO bodies (id, value, unpacked_bytes) SELECT ?, value, unpacked_bytes FROM bodies WHERE id = ?"
_MARK = "UPDATE dead_letters SET redriven_at_ns = ? WHERE id = ?"


class SqliteLogInspector:
    """`LogInspector` on an embedded log, from any process, while the pipeline runs or not.

    Args:
        path: the log's file; it is never created here.
        group: the consumer group whose progress the snapshot shows.
        clock_ns: the wall clock, Unix nanoseconds.
    """

    def __init__(self, path: Path, group: str = "store", *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._path = Path(os.path.realpath(path))
        self._group = group
        self._clock_ns = clock_ns
        self._link = open_link(path)

    def starts(self) -> Mapping[tuple[str, int], int]:
        """See `LogInspector.starts`: appends are counted where they are made, so records that are gone count too."""
        return {}

    def snapshot(self, since: Mapping[tuple[str, int], int] | None = None) -> LogSnapshot:  # noqa: ARG002
        """See `LogInspector.snapshot`.

        Raises:
            LogUnavailableError: the log cannot be read now, or does not exist.
        """
        with self._link.read() as connection:
            log_id = str(connection.execute(LOG_ID).fetchone()[0])
            counts = [
                TopicCount(topic, PARTITION, tenant, records, items, rejected)
                for topic, tenant, records, items, rejected in connection.execute(_COUNTS)
            ]
            progress: dict[tuple[str, int], Progress] = {}
            in_flight: dict[tuple[str, int, str], int] = {}
            records: dict[tuple[str, int, str], int] = {}
            oldest_ns: dict[tuple[str, int, str], int] = {}
            for topic, next_offset, frozen_last in connection.execute(_PROGRESS, (self._group,)).fetchall():
                frozen = None if frozen_last is None else OffsetRange(next_offset, frozen_last)
                progress[topic, PARTITION] = Progress(next_offset, frozen)
                for tenant, items, count, received_at_ns in connection.execute(_IN_FLIGHT, (topic, next_offset)):
                    key = (topic, PARTITION, tenant)
                    in_flight[key], records[key], oldest_ns[key] = items, count, received_at_ns
            waiting = {(topic, tenant): letters for topic, tenant, letters in connection.execute(_WAITING_COUNTS)}
        topics = {count.topic for count in counts} | {names.topic for names in NAMES.values()}
        log_ids = dict.fromkeys(topics, log_id)
        return LogSnapshot(counts, progress, in_flight, waiting, records, oldest_ns, log_ids)

    def size_bytes(self) -> int:
        """See `LogInspector.size_bytes`: the file and the write-ahead log beside it."""
        total = 0
        for name in (self._path, Path(f"{self._path}-wal"), Path(f"{self._path}-shm")):
            with suppress(FileNotFoundError):
                total += name.stat().st_size
        return total

    def dead_letters(self, topic: str | None = None, *, limit: int = 100, after_id: int = 0) -> list[KeptDeadLetter]:
        """See `LogInspector.dead_letters`. Ids are unique over all topics.

        Raises:
            LogUnavailableError: the log cannot be read now, or does not exist.
        """
        where = " WHERE d.id > ?" + (" AND d.topic = ?" if topic is not None else "") + " ORDER BY d.id LIMIT ?"
        parameters = (after_id, limit) if topic is None else (after_id, topic, limit)
        with self._link.read() as connection:
            return [_kept(row) for row in connection.execute(_LETTERS + where, parameters)]

    def newest(self, topic: str, limit: int) -> list[Record]:
        """See `LogInspector.newest`.

        Raises:
            LogUnavailableError: the log cannot be read now, or does not exist.
        """
        with self._link.read() as connection:
            rows = connection.execute(_NEWEST, (topic, limit)).fetchall()
        return [record_of(topic, row) for row in reversed(rows)]

    def redrive(self, topic: str, ids: Sequence[int] | None = None) -> int:
        """See `LogInspector.redrive`. Letters that fail again while this runs are left for the next call.

        A redriven record counts as accepted again, as the ledger counts its first pass as dead-lettered; items that its
        requests lost to partial_success were counted at the first pass and are not repeated.

        Raises:
            LogUnavailableError: the log cannot be written now. What was redriven before stays redriven and marked.
        """
        chosen = None if ids is None else frozenset(ids)
        with self._link.read() as connection:
            newest = single(connection, _NEWEST_LETTER)
        redriven = 0
        after_id = 0
        while True:
            with self._link.write() as connection:
                rows = connection.execute(_WAITING, (topic, after_id, newest, _REDRIVE_RECORDS)).fetchall()
                left_bytes = _REDRIVE_BYTES
                for row in rows:
                    after_id = row[0]
                    if chosen is not None and row[0] not in chosen:
                        continue
                    self._append_again(connection, topic, row)
                    redriven += 1
                    left_bytes -= row[4]
                    if left_bytes < 0:
                        break
            if not rows:
                return redriven
            self._link.shared.announce((topic,))

    def close(self) -> None:
        """See `LogInspector.close`."""
        self._link.close()

    def _append_again(self, connection: sqlite3.Connection, topic: str, row: tuple[Any, ...]) -> None:
        letter_id, partition, offset, body_id, size_bytes, items, received_at_ns, tenant, headers = row
        new_body_id = single(connection, NEXT_BODY)
        new_offset = single(connection, END_OFFSET, (topic,))
        marked = decode_headers(headers) | {"redriven_from": f"{topic}/{partition}/{offset}"}
        connection.execute(_COPY_BODY, (new_body_id, body_id))
        connection.execute(INSERT_RECORD, (topic, new_offset, new_body_id, size_bytes, items, 0, received_at_ns, tenant,
                                           encode_headers(marked)))  # fmt: skip
        connection.execute(ADD_COUNTS, (topic, tenant, 1, items, 0))
        connection.execute(_MARK, (self._clock_ns(), letter_id))


def _kept(row: tuple[Any, ...]) -> KeptDeadLetter:
    letter_id, topic, partition, *record, reason, message, failed_at_ns, redriven_at_ns = row
    source = record_of(topic, record, partition)
    return KeptDeadLetter(letter_id, DeadLetter(source, reason, message, failed_at_ns), redriven_at_ns)
