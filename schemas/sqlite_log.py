"""The embedded log's file: its statements, its bounds, and one way to run transactions on it that both sides use.

This module opens nothing: `Link` is given the function that opens a connection. Numbers are from docs/log.md.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib import resources

from schemas.errors import ConfigurationError, LogUnavailableError
from schemas.sqlite_shared import shared_log

PAGE_BYTES = 65536
# What the write-ahead log beside the file may use. At a quarter of it the writer's checkpointer starts beside the
# appends; at half of it any commit checkpoints in line; the rest is for one large transaction and a slow reader.
MAX_WAL_BYTES = 64 * 1024 * 1024
TRIM_RECORDS = 256

APPLICATION_ID = 0x534C5549  # "SLUI"
SCHEMA_VERSION = 2

# From each earlier version to the next one. Nothing is rewritten: bodies of version 1 are as they came.
_UPGRADES = {1: "ALTER TABLE bodies ADD COLUMN unpacked_bytes INTEGER NOT NULL DEFAULT 0"}
_SCHEMA = resources.files("schemas").joinpath("sqlite_log.sql").read_text(encoding="utf-8")

# Only a file without tables takes the first two. SQLite may be compiled to overwrite what it deletes (Debian's is),
# which makes every deletion a write of all its pages.
_LAYOUT = (f"PRAGMA page_size = {PAGE_BYTES}", "PRAGMA auto_vacuum = INCREMENTAL")
_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = OFF",
    "PRAGMA cache_size = -4096",
)

_UNAVAILABLE = {
    sqlite3.SQLITE_PERM: "access is denied",
    sqlite3.SQLITE_BUSY: "another process holds its lock",
    sqlite3.SQLITE_LOCKED: "another connection holds its lock",
    sqlite3.SQLITE_READONLY: "the file or its file system is read-only",
    sqlite3.SQLITE_IOERR: "reading or writing failed",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PROTOCOL: "its locks could not be taken",
}
# After these the connection is as good as before. After others it is opened again, for it may not heal with its cause:
# a file opened while its file system was read-only stays read-only.
_KEEPS_CONNECTION = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

INSERT_BODY = "INSERT INTO bodies (id, value, unpacked_bytes) VALUES (?, ?, ?)"
INSERT_RECORD = (
    "INSERT INTO records (topic, offset, body_id, size_bytes, items, rejected, received_at_ns, tenant, headers)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
ADD_COUNTS = (
    "INSERT INTO counts (topic, tenant, records, items, rejected) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT DO UPDATE SET records = records + excluded.records, items = items + excluded.items,"
    " rejected = rejected + excluded.rejected"
)
LOG_ID = "SELECT log_id FROM identity"
NEXT_BODY = "SELECT COALESCE(MAX(id), 0) + 1 FROM bodies"
END_OFFSET = (
    "SELECT COALESCE((SELECT MAX(offset) + 1 FROM records WHERE topic = ?1),"
    " (SELECT offset FROM log_starts WHERE topic = ?1), 0)"
)
_OLDEST_STORED = (
    "SELECT s.topic, s.next_offset FROM stored s JOIN records r ON r.topic = s.topic"
    " AND r.offset = (SELECT MIN(offset) FROM records WHERE topic = s.topic)"
    " WHERE r.offset < s.next_offset ORDER BY r.body_id LIMIT 1"
)
_TRIM_END = (
    "SELECT MAX(offset), COUNT(*), SUM(size_bytes) FROM"
    " (SELECT offset, size_bytes FROM records WHERE topic = ? AND offset < ? ORDER BY offset LIMIT ?)"
)


def encode_headers(headers: Mapping[str, str]) -> str:
    """Headers as kept in a row; the usual none costs nothing."""
    return json.dumps(dict(headers), ensure_ascii=False, separators=(",", ":")) if headers else ""


def decode_headers(text: str) -> dict[str, str]:
    """What `encode_headers` wrote."""
    return dict(json.loads(text)) if text else {}


def single(connection: sqlite3.Connection, statement: str, parameters: Sequence[object] = ()) -> int:
    """The one integer that a statement answers."""
    return int(connection.execute(statement, parameters).fetchone()[0])


def wal_bound(max_bytes: int) -> int:
    """What of `log.max_bytes` the write-ahead log may use."""
    return min(MAX_WAL_BYTES, max_bytes // 4)


def live_bytes(connection: sqlite3.Connection) -> int:
    """Bytes of pages in use. Free pages inside the file are not counted: the next appends take them."""
    pages = single(connection, "PRAGMA page_count") - single(connection, "PRAGMA freelist_count")
    return pages * PAGE_BYTES


def trim(connection: sqlite3.Connection, topic: str, before: int, max_records: int = TRIM_RECORDS) -> tuple[int, int]:
    """Delete the oldest records of `topic` below offset `before`, in the caller's write transaction.

    Returns:
        Records and bytes of values deleted. `before` MUST NOT be over the view `stored`'s next_offset.
    """
    last, records, size_bytes = connection.execute(_TRIM_END, (topic, before, max_records)).fetchone()
    if not records:
        return 0, 0
    span = (topic, last)
    connection.execute(
        "DELETE FROM bodies WHERE id IN (SELECT body_id FROM records WHERE topic = ? AND offset <= ?)", span
    )
    connection.execute("DELETE FROM records WHERE topic = ? AND offset <= ?", span)
    connection.execute(
        "INSERT INTO log_starts (topic, offset) VALUES (?, ?) ON CONFLICT DO UPDATE SET offset = excluded.offset",
        (topic, last + 1),
    )
    return int(records), int(size_bytes)


def trim_oldest_stored(connection: sqlite3.Connection, max_records: int = TRIM_RECORDS) -> tuple[int, int]:
    """`trim` on the topic whose oldest stored record is the oldest of all; (0, 0) when nothing stored is left."""
    found = connection.execute(_OLDEST_STORED).fetchone()
    return trim(connection, found[0], found[1], max_records) if found else (0, 0)


def _prepare(connection: sqlite3.Connection, path: str, max_wal_bytes: int, *, create: bool) -> None:
    try:
        application = single(connection, "PRAGMA application_id")
        version = single(connection, "PRAGMA user_version")
        tables = single(connection, "SELECT COUNT(*) FROM sqlite_schema")
    except sqlite3.DatabaseError as error:
        if _primary(error) == sqlite3.SQLITE_NOTADB:
            raise ConfigurationError(
                f"log.path must name a log of Sluiceway; {path} is another kind of file"
            ) from error
        raise
    earlier = application == APPLICATION_ID and version in _UPGRADES
    if tables and not earlier and (application, version) != (APPLICATION_ID, SCHEMA_VERSION):
        raise ConfigurationError(
            f"log.path must name a log of Sluiceway of version {SCHEMA_VERSION}; {path} is a database with"
            f" application_id {application:#x} and version {version}"
        )
    if not tables and not create:
        raise LogUnavailableError(f"the log {path} does not exist yet: its writer makes it")
    if earlier and not create:
        raise LogUnavailableError(f"the log {path} is of version {version}: its writer brings it to {SCHEMA_VERSION}")
    wal_settings = (
        f"PRAGMA wal_autocheckpoint = {max_wal_bytes // 2 // PAGE_BYTES}",
        f"PRAGMA journal_size_limit = {max_wal_bytes // 2}",
    )
    for statement in (_LAYOUT if not tables else ()) + _SETTINGS + wal_settings:
        connection.execute(statement).fetchall()
    if not tables:
        connection.executescript(
            f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {SCHEMA_VERSION}; COMMIT"
        )
    for from_version in range(version, SCHEMA_VERSION) if tables else ():
        connection.executescript(
            f"BEGIN IMMEDIATE; {_UPGRADES[from_version]}; PRAGMA user_version = {from_version + 1}; COMMIT"
        )


def _primary(error: sqlite3.Error) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


class Link:
    """A connection that opens when needed, and again after a failure that could outlive its cause.

    Safe for several threads, which then take turns. Links of one process that share a path take turns at writing.
    """

    def __init__(
        self,
        path: str,
        connect: Callable[[], sqlite3.Connection],
        *,
        max_wal_bytes: int = MAX_WAL_BYTES,
        create: bool = False,
    ) -> None:
        self.path = path
        self._max_wal_bytes = max_wal_bytes
        self.shared = shared_log(path)
        self._connect = connect
        self._create = create
        self._connection: sqlite3.Connection | None = None
        self._closed = False
        self._in_use = threading.Lock()
        self.shared.links.add(self)

    @contextmanager
    def read(self) -> Iterator[sqlite3.Connection]:
        """One read transaction: everything read inside is of one moment.

        Raises:
            LogUnavailableError: the log cannot be read now.
        """
        with self._guarded() as connection:
            connection.execute("BEGIN")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One write transaction, durable when the block is left without an exception, undone otherwise.

        Raises:
            LogUnavailableError: nothing was written.
        """
        with self.shared.turn, self._guarded() as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")

    @contextmanager
    def bare(self) -> Iterator[sqlite3.Connection]:
        """The connection outside a transaction, for pragmas.

        Raises:
            LogUnavailableError: the log cannot be used now.
        """
        with self._guarded() as connection:
            yield connection

    def close(self) -> None:
        """Close for good, once what is under way has ended."""
        self._closed = True
        with self._in_use:
            self._drop()

    def close_if_idle(self) -> None:
        """See `ClosesWhenIdle`."""
        if self._in_use.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._in_use.release()

    @contextmanager
    def _guarded(self) -> Iterator[sqlite3.Connection]:
        with self._in_use:
            try:
                yield self._open()
            except sqlite3.DatabaseError as error:
                code = _primary(error)
                keep = code in _KEEPS_CONNECTION
                self._abandon(keep=keep)
                if not keep:
                    for link in list(self.shared.links):
                        link.close_if_idle()
                if code not in _UNAVAILABLE:
                    raise
                raise LogUnavailableError(
                    f"the log {self.path} is unavailable: {_UNAVAILABLE[code]} ({error})"
                ) from error
            except BaseException:
                self._abandon(keep=True)
                raise

    def _open(self) -> sqlite3.Connection:
        if self._closed:
            raise LogUnavailableError(f"the log {self.path} is closed")
        if self._connection is None:
            connection = self._connect()
            try:
                _prepare(connection, self.path, self._max_wal_bytes, create=self._create)
            except BaseException:
                connection.close()
                raise
            self._connection = connection
        return self._connection

    def _abandon(self, *, keep: bool) -> None:
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                keep = False
        if not keep:
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()
