"""The embedded log's writing side: group commit into one SQLite file, durable before `append` returns."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from schemas.errors import ConfigurationError, LogUnavailableError, TooLargeError
from schemas.log import Entry
from schemas.private_files import make_database, make_folder, narrow, narrow_folder
from schemas.settings import LogSettings
from schemas.sqlite_bodies import packed
from schemas.sqlite_log import (
    ADD_COUNTS,
    END_OFFSET,
    INSERT_BODY,
    INSERT_RECORD,
    MAX_WAL_BYTES,
    NEXT_BODY,
    Link,
    encode_headers,
    live_bytes,
    single,
    trim_oldest_stored,
    wal_bound,
)

BUSY_TIMEOUT_S = 2.0
# Row, cell and index overhead of one record, bytes; rounded up.
_RECORD_OVERHEAD_BYTES = 512


class SqliteLogWriter:
    """`LogWriter` on one SQLite file. One writer a file: a lock file beside it holds the place and names the process.

    A file system that is full or read-only at start does not fail the constructor: appends are refused until it heals.

    Args:
        path: the log's file; its folder is made when missing. Folder and files are for their owner alone.
        settings: bounds on the log and on one record.
        disk_reserve_bytes: free space of the file system below which appends are refused. It is what a checkpoint and
            the readers' commits need to go on while new requests wait; 0 goes on until the disk itself refuses.

    Raises:
        ConfigurationError: another writer holds the log (names its process id), or `path` is another kind of file.
    """

    def __init__(self, path: Path, settings: LogSettings, *, disk_reserve_bytes: int = MAX_WAL_BYTES) -> None:
        self._path = path.absolute()
        self._settings = settings
        self._reserve_bytes = disk_reserve_bytes
        self._lock_file: int | None = None
        self._max_wal_bytes = wal_bound(settings.max_bytes)
        real_path = os.path.realpath(path)
        self._link = Link(real_path, self._connect, max_wal_bytes=self._max_wal_bytes, create=True)
        self._checkpoint_link = Link(real_path, self._connect, max_wal_bytes=self._max_wal_bytes)
        self._append_lock = threading.Lock()
        self._wal_bytes = 0
        self._checkpoint_wanted = threading.Event()
        self._closing = False
        try:
            with suppress(LogUnavailableError), self._link.bare():
                pass
        except ConfigurationError:
            self._release()
            raise
        self._link.shared.writers += 1
        self._checkpointer = threading.Thread(target=self._checkpoint_loop, name="log-checkpoint", daemon=True)
        self._checkpointer.start()

    def append(self, entries: Sequence[Entry]) -> None:
        """See `LogWriter.append`. One call is one transaction: callers that gather entries share its fsync."""
        if not entries:
            return
        bound = self._settings.max_record_bytes
        for number, entry in enumerate(entries):
            if len(entry.value) > bound:
                raise TooLargeError(f"a record must be at most {bound} bytes; entry {number} has {len(entry.value)}")
        bodies = [packed(entry.value) for entry in entries]
        needed_bytes = sum(len(kept) + _RECORD_OVERHEAD_BYTES for kept, _ in bodies)
        with self._append_lock:
            self._check_disk(needed_bytes)
            self._make_room(needed_bytes)
            with self._link.write() as connection:
                _insert(connection, entries, bodies)
            self._wal_bytes += needed_bytes
            if self._checkpoint_is_due():
                self._checkpoint_wanted.set()
        self._link.shared.announce({entry.topic for entry in entries})

    def max_record_bytes(self) -> int:
        """See `LogWriter.max_record_bytes`."""
        return self._settings.max_record_bytes

    def joins_below_bytes(self) -> int:
        """See `LogWriter.joins_below_bytes`: a row costs some 10 us, the copy of a large request several times that."""
        return 64 * 1024

    def independent_topics(self) -> bool:
        """False: they are one file."""
        return False

    def close(self) -> None:
        """See `LogWriter.close`. A second call does nothing."""
        if self._closing:
            return
        self._closing = True
        self._checkpoint_wanted.set()
        self._checkpointer.join()
        with self._append_lock:
            self._checkpoint_link.close()
            self._link.close()
            self._link.shared.writers -= 1
            self._link.shared.wake_all()
            self._release()

    def _connect(self) -> sqlite3.Connection:
        try:
            make_folder(self._path.parent)
            self._take_lock()
            narrow_folder(self._path.parent, lambda name: name.startswith(self._path.name))
            make_database(Path(os.path.realpath(self._path)))
        except OSError as error:
            raise LogUnavailableError(f"the log {self._path} is unavailable: {error}") from error
        return sqlite3.connect(self._path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)

    def _take_lock(self) -> None:
        if self._lock_file is not None:
            return
        lock_path = self._path.with_name(self._path.name + ".lock")
        lock_file = os.open(lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.pread(lock_file, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock_file)
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise ConfigurationError(
                f"log.path must not be in use by another writer; process {owner} writes {self._path}"
            ) from error
        # The lock is what counts; on a full disk the name of its holder may be missing.
        with suppress(OSError):
            os.ftruncate(lock_file, 0)
            os.pwrite(lock_file, f"{os.getpid()}\n".encode(), 0)
        narrow(lock_path)
        self._lock_file = lock_file

    def _release(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    def _check_disk(self, needed_bytes: int) -> None:
        if not self._reserve_bytes:
            return
        try:
            disk = os.statvfs(self._path.parent)
        except OSError as error:
            raise LogUnavailableError(f"the log {self._path} is unavailable: {error}") from error
        free_bytes = disk.f_bavail * disk.f_frsize
        if free_bytes < self._reserve_bytes + needed_bytes:
            raise LogUnavailableError(
                f"the disk of the log {self._path} must keep {self._reserve_bytes} bytes free; {free_bytes} are left"
            )

    def _make_room(self, needed_bytes: int) -> None:
        """Delete stored records until `needed_bytes` fit below the bound."""
        budget_bytes = self._settings.max_bytes - self._max_wal_bytes - needed_bytes
        with self._link.bare() as connection:
            if live_bytes(connection) <= budget_bytes:
                return
        while True:
            with self._link.write() as connection:
                records, _ = trim_oldest_stored(connection)
                fits = live_bytes(connection) <= budget_bytes
            if fits:
                return
            if not records:
                raise LogUnavailableError(
                    f"the log {self._path} holds only records that are not yet stored and is at log.max_bytes"
                    f" {self._settings.max_bytes}"
                )

    def _checkpoint_loop(self) -> None:
        while True:
            self._checkpoint_wanted.wait()
            # Cleared before the look at `_closing`: close() sets that first, so that its wake-up cannot be lost.
            self._checkpoint_wanted.clear()
            if self._closing:
                return
            # A failing disk shows at the next append, which reports it; the WAL keeps what is not yet copied.
            if self._checkpoint_is_due():
                with suppress(LogUnavailableError):
                    self._checkpoint()

    def _checkpoint_is_due(self) -> bool:
        return self._wal_bytes >= self._max_wal_bytes // 4

    def _checkpoint(self) -> None:
        """Copy the bulk beside the appends, then with them held the little that came meanwhile: the WAL starts over."""
        counted = self._wal_bytes
        copied_all = self._copy_wal()
        with self._append_lock, self._link.shared.turn:
            self._wal_bytes -= counted
            if self._wal_bytes or not copied_all:
                self._copy_wal()
                self._wal_bytes = 0

    def _copy_wal(self) -> bool:
        with self._checkpoint_link.bare() as connection:
            _, frames, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(frames == copied)


def _insert(
    connection: sqlite3.Connection, entries: Sequence[Entry], packed_bodies: Sequence[tuple[bytes, int]]
) -> None:
    body_id = single(connection, NEXT_BODY)
    ends: dict[str, int] = {}
    counts: defaultdict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])
    bodies: list[tuple[int, bytes, int]] = []
    rows: list[tuple[str, int, int, int, int, int, int, str, str]] = []
    for entry, packed_body in zip(entries, packed_bodies, strict=True):
        topic = entry.topic
        if topic not in ends:
            ends[topic] = single(connection, END_OFFSET, (topic,))
        bodies.append((body_id, *packed_body))
        rows.append((topic, ends[topic], body_id, len(entry.value), entry.items, entry.rejected, entry.received_at_ns,
                     entry.tenant, encode_headers(entry.headers)))  # fmt: skip
        count = counts[topic, entry.tenant]
        count[0] += 1
        count[1] += entry.items
        count[2] += entry.rejected
        ends[topic] += 1
        body_id += 1
    connection.executemany(INSERT_BODY, bodies)
    connection.executemany(INSERT_RECORD, rows)
    connection.executemany(ADD_COUNTS, [(topic, tenant, *count) for (topic, tenant), count in counts.items()])
