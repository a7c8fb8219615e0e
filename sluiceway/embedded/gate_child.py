"""The gate as a child of ours. Its listening sockets are ours: they outlive it, and nobody can take the ports."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import subprocess
import sys
import time

from schemas.errors import ConfigurationError
from schemas.settings import StoreSettings
from sluiceway.embedded.child import await_predecessor, python_path
from sluiceway.embedded.folder import StoreFolder
from sluiceway.gate.settings import GateSettings

logger = logging.getLogger(__name__)

GATE_MODULE = "sluiceway.gate"
_BACKLOG = 1024
_END_S = 3.0
# An answer may take as long as its query, and this much to travel.
_TRAVEL_S = 60.0
_AGAIN_AFTER_S = 1.0


class GateChild:
    """One gate in front of one store: `listen`, `keep_up` as often as one likes, `stop`, `close`."""

    def __init__(self, folder: StoreFolder, settings: StoreSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._lock: int | None = None
        self._sockets: dict[str, socket.socket] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0

    @property
    def pid(self) -> int | None:
        """Process id, None while it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def listen(self) -> None:
        """Take the ports.

        Raises:
            ConfigurationError: one is taken; the message names the setting and its environment variable.
        """
        self._lock = await_predecessor(self._folder.gate_lock, self._settings.stop_timeout_s)
        self._sockets["http_port"] = _listening(self._settings.host, self._settings.http_port, "http_port")
        if self._settings.native_port is not None:
            self._sockets["native_port"] = _listening(self._settings.host, self._settings.native_port, "native_port")

    def keep_up(self) -> None:
        """Start it, or start it again. The calling thread MUST outlive it, as with the engine."""
        if self.pid is not None or time.monotonic() - self._started_at < _AGAIN_AFTER_S:
            return
        if self._process is not None:
            logger.warning("store: the gate ended (%s) and is started again", self._process.returncode)
            self._reap()
        self._started_at = time.monotonic()
        descriptors = {name: opened.fileno() for name, opened in self._sockets.items()}
        with (self._folder.logs / "gate.printed.log").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", GATE_MODULE, str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder.root,
                env={**os.environ, "PYTHONPATH": python_path()},
                pass_fds=(*descriptors.values(), *(() if self._lock is None else (self._lock,))),
                start_new_session=True,
            )
        told = GateSettings(
            backend=str(self._folder.backend),
            log=str(self._folder.logs / "gate.log"),
            http_fd=descriptors["http_port"],
            native_fd=descriptors.get("native_port"),
            allowed_hosts=self._settings.allowed_hosts,
            queries_at_once=self._settings.reader_queries_at_once,
            longest_answer_s=self._settings.reader_max_execution_s + _TRAVEL_S,
        )
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(told.line())
                self._process.stdin.flush()

    def stop(self) -> None:
        """End it; the ports stay ours."""
        self._reap()

    def close(self) -> None:
        """Give the ports back."""
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _reap(self) -> None:
        if self._process is None:
            return
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def _listening(host: str, port: int, name: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Otherwise connections of a predecessor in TIME_WAIT would refuse us for a minute.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        reason = "which another program listens on" if error.errno == errno.EADDRINUSE else f"which fails: {error}"
        raise ConfigurationError(
            f"store.{name}: must be a free port on {host}, received {port}, {reason}; stop that program or set "
            f"store.{name} (SLUICEWAY_STORE__{name.upper()})"
        ) from error
    return listener
