"""The store's folder: what lies where, who holds it, and the writer's secret."""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import ConfigurationError
from schemas.private_files import make_folder, narrow


@dataclass(frozen=True, slots=True)
class StoreFolder:
    """Paths below one store's root."""

    root: Path

    @property
    def data(self) -> Path:
        """ClickHouse's own data path."""
        return self.root / "data"

    @property
    def server(self) -> Path:
        """Working folder of the serving child: config.xml and users.xml."""
        return self.root / "server"

    @property
    def prepare(self) -> Path:
        """Working folder of the child that prepares a new data path: no users file, nothing listens."""
        return self.root / "prepare"

    @property
    def prepared(self) -> Path:
        """Exists once the data path was prepared."""
        return self.data / "metadata" / "entry" / "pipe.sql"

    @property
    def logs(self) -> Path:
        """Rotated logs of the server and what the child printed."""
        return self.root / "logs"

    @property
    def secret(self) -> Path:
        """The writer's password, mode 0600."""
        return self.root / "writer.secret"

    @property
    def backend(self) -> Path:
        """Where the running engine listens and what opens it, mode 0600; absent while none runs."""
        return self.root / "backend.json"

    @property
    def lock(self) -> Path:
        """Held by the process that supervises the store; holds its pid as text."""
        return self.root / "lock"

    @property
    def engine_lock(self) -> Path:
        """Held by the engine itself for as long as it may touch the data path."""
        return self.root / "engine.lock"

    @property
    def gate_lock(self) -> Path:
        """Held by a supervisor and its gate for as long as either may listen."""
        return self.root / "gate.lock"

    def create(self) -> None:
        """Make the folders; others may not look into them.

        Raises:
            ConfigurationError: a folder cannot be made or written.
        """
        try:
            for path in (self.root, self.data, self.server, self.prepare, self.logs):
                make_folder(path)
                narrow(path)
        except OSError as error:
            raise ConfigurationError(f"data folder: must be writable, received {self.root} ({error})") from error

    def writer_secret(self) -> str:
        """The writer's password, made at the first call and kept."""
        try:
            return self.secret.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            secret = secrets.token_urlsafe(32)
            write_private(self.secret, secret + "\n")
            return secret


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step with mode 0600, so that a reader never sees half of it."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class FolderLock:
    """An flock on the store's folder. The kernel lets go of it when this process dies, however it dies."""

    def __init__(self, folder: StoreFolder) -> None:
        self._folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock.

        Raises:
            ConfigurationError: another process holds it; the message names folder and pid.
        """
        make_folder(self._folder.root)
        descriptor = os.open(self._folder.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(descriptor)
            raise ConfigurationError(
                f"data folder: must be used by one instance at a time, received {self._folder.root}, "
                f"which the process with pid {holder} uses; stop that one or choose another --data-dir"
            ) from None
        # The lock is what counts; on a full disk the name of its holder may be missing.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock; the file stays, since removing it would let two processes lock two files."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
