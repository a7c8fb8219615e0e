"""The embedded store: a ClickHouse server as a supervised child of this process.

A crash is survived by starting the child again with a growing, jittered delay; meanwhile inserts fail with
StoreUnavailableError and the log keeps what was acked. The child dies with this process, however this process dies.
The engine is reached by our own processes (`backend`); everybody else comes through the gate, a second child.
"""

from __future__ import annotations

import base64
import contextlib
import enum
import logging
import os
import random
import socket
import threading
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Self

from schemas.errors import SluicewayError, StoreUnavailableError
from schemas.settings import StoreSettings
from sluiceway.embedded.backend import Backend
from sluiceway.embedded.child import Child, await_predecessor, check_binary, check_engine, check_host
from sluiceway.embedded.configuration import config_xml
from sluiceway.embedded.confine import landlock_version
from sluiceway.embedded.engine import statements_of_entry
from sluiceway.embedded.folder import FolderLock, StoreFolder, write_private
from sluiceway.embedded.foreign import untold
from sluiceway.embedded.gate_child import GateChild
from sluiceway.embedded.users import PIPELINE, WRITER, users_xml

logger = logging.getLogger(__name__)

BACKOFF_FIRST_S = 0.2
BACKOFF_MAX_S = 30.0
# A child that served this long was healthy: its next crash starts the delays from the beginning.
HEALTHY_AFTER_S = 60.0
PROBE_INTERVAL_S = 1.0
# How long a child may be gone before we look: twenty looks a second were a tenth of what an idle pipeline used.
_LOOK_INTERVAL_S = 0.25
# Refused connections in a row after which a running child counts as one that stopped listening.
REFUSED_LIMIT = 2


class State(enum.StrEnum):
    """Where the supervised child stands."""

    STOPPED = "stopped"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPING = "stopping"


class EmbeddedStore:
    """A ClickHouse server in `folder`, from `start()` to `stop()`; also a context manager.

    Attributes:
        writer_user: the user that may write, through the gate too.
        state: see State.
        restarts: how often the child was started again after it ended by itself.
        last_exit: how the last child that ended by itself did so (`exit 1`, `signal 9`), '' if none did.
    """

    writer_user = WRITER

    def __init__(self, folder: Path, settings: StoreSettings) -> None:
        self._folder = StoreFolder(folder.absolute())
        self._settings = settings
        self._lock = FolderLock(self._folder)
        self._child = Child(self._folder, settings)
        self._gate = GateChild(self._folder, settings)
        self._backend: Backend | None = None
        self._secret = ""
        self._stopping = threading.Event()
        self._settled = threading.Event()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None
        self.state = State.STOPPED
        self.restarts = 0
        self.last_exit = ""

    @property
    def url(self) -> str:
        """Base URL of the HTTP interface that people and Grafana use."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._settings.http_port}"

    @property
    def folder(self) -> Path:
        """Where the store keeps everything: data, logs, secret."""
        return self._folder.root

    @property
    def database(self) -> str:
        """The database of all our tables; it exists once `start()` returned."""
        return self._settings.database

    @property
    def writer_password(self) -> str:
        """The writer's password; '' before the first start."""
        return self._secret

    @property
    def alive(self) -> bool:
        """Whether the child runs and has answered since it was started."""
        return self.state is State.READY and self._child.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the child, None while there is none."""
        return self._child.pid if self._child.poll() is None else None

    @property
    def gate_pid(self) -> int | None:
        """Process id of the gate, None while there is none."""
        return self._gate.pid

    def start(self) -> None:
        """Start the child and return when it answers the writer's SELECT.

        Raises:
            ConfigurationError: wrong engine, host, taken port or folder in use; nothing was started.
            StoreUnavailableError: the child ended by itself, or did not answer within `start_timeout_s`; one that a
                signal ended is started again until then.
        """
        if self._thread is not None:
            raise RuntimeError("the store was started already")
        check_host(self._settings.host)
        if self._settings.binary is None:
            check_engine()
            if landlock_version() == 0:
                logger.warning(
                    "store: this system has no Landlock, so whoever may query the store on this machine can read every "
                    "file that our own user can read (docs/store.md)"
                )
        else:
            check_binary(self._settings.binary)
        self._folder.create()
        self._lock.acquire()
        try:
            self._secret = self._folder.writer_secret()
            # The engine takes it for itself when it starts.
            os.close(await_predecessor(self._folder.engine_lock, self._settings.stop_timeout_s))
            self._folder.backend.unlink(missing_ok=True)
            self._gate.listen()
        except OSError as error:
            self._let_go()
            raise _as_ours(error, self._folder) from error
        except BaseException:
            self._let_go()
            raise
        self._stopping.clear()
        self._settled.clear()
        self._failure = None
        # Daemon: a caller that forgot stop() must be able to exit; the child then ends with the process.
        self._thread = threading.Thread(target=self._supervise, name="store-supervisor", daemon=True)
        self._thread.start()
        try:
            self._settled.wait()
        except BaseException:
            self.stop()
            raise
        self._raise_failure()

    def _raise_failure(self) -> None:
        failure = self._failure
        if failure is not None:
            self.stop()
            raise failure

    def stop(self) -> None:
        """End the child in order within `stop_timeout_s`, let go of the folder. Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._let_go()
        self.state = State.STOPPED

    def _let_go(self) -> None:
        self._gate.close()
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _supervise(self) -> None:
        # All children are started from this one thread, which ends after the last of them did:
        # PR_SET_PDEATHSIG fires at the end of the thread that forked, not of the process.
        attempt = 0
        deadline = time.monotonic() + self._settings.start_timeout_s
        try:
            while not self._stopping.is_set():
                ready_at = None
                try:
                    self._launch()
                    ready_at = time.monotonic()
                    self._settled.set()
                    self._watch()
                except (OSError, SluicewayError) as error:
                    # A signal (out of memory, say) is no reason to give up at once; a reason that the child gives is.
                    killed = (self._child.poll() or 0) < 0 and time.monotonic() < deadline
                    if not self._settled.is_set() and not killed:
                        self._failure = _as_ours(error, self._folder)
                        return
                    logger.warning("store: start failed: %s", error)
                except Exception:
                    # A defect of ours must not end supervision: without it nothing would be stored ever again.
                    if not self._settled.is_set():
                        raise
                    logger.exception("store: supervision failed")
                if self._stopping.is_set():
                    return
                self._forget_backend()
                self._child.kill()
                self.last_exit = _describe(self._child.poll())
                if ready_at is not None and time.monotonic() - ready_at >= HEALTHY_AFTER_S:
                    attempt = 0
                delay_s = backoff_s(attempt)
                attempt += 1
                self.restarts += 1
                self.state = State.BACKOFF
                logger.warning("store: child ended (%s), restart %d in %.1f s", self.last_exit, self.restarts, delay_s)
                self._stopping.wait(delay_s)
        except BaseException as error:
            self._failure = error
            raise
        finally:
            self.state = State.STOPPING
            self._forget_backend()
            self._gate.stop()
            self._child.stop(self._settings.stop_timeout_s)
            self._settled.set()

    def _forget_backend(self) -> None:
        """Nobody shall say a password to whoever takes the port next."""
        self._backend = None
        with contextlib.suppress(OSError):
            self._folder.backend.unlink(missing_ok=True)

    def _launch(self) -> None:
        self.state = State.STARTING
        of_wheel = self._settings.binary is None
        backend = Backend.fresh(self._settings.host, native=self._settings.native_port is not None)
        files = {
            self._folder.server / "config.xml": config_xml(self._folder, self._settings, backend),
            self._folder.server / "users.xml": users_xml(
                self._settings,
                self._secret,
                backend.passwords,
                entry_statements=statements_of_entry(native=backend.native_port is not None) if of_wheel else 0,
            ),
        }
        for path, text in files.items():
            write_private(path, text)
        self._child.prepare()
        self._child.spawn("serve", backend)
        deadline = time.monotonic() + self._settings.start_timeout_s
        reason = "it did not listen"
        while not self._stopping.is_set():
            code = self._child.poll()
            if code is not None:
                raise StoreUnavailableError(f"the store ended at start ({_describe(code)}): {self._child.printed()}")
            try:
                _ask(backend, f"CREATE DATABASE IF NOT EXISTS {self._settings.database} ENGINE = Atomic")
            except (OSError, HTTPException, StoreUnavailableError) as error:
                reason = str(error)
            else:
                # The wheel's engine reads them once, and no query of anybody shall. A binary looks for changes.
                for path in files if of_wheel else ():
                    path.unlink()
                backend.write(self._folder.backend)
                self._backend = backend
                self._gate.keep_up()
                self.state = State.READY
                for sentence in untold(self._folder):
                    logger.warning("store: %s", sentence)
                logger.info("store: ready at %s, pid %s", self.url, self._child.pid)
                return
            if time.monotonic() >= deadline:
                self._child.kill()
                raise StoreUnavailableError(
                    f"the store was not ready within {self._settings.start_timeout_s:.0f} s: {reason}; "
                    f"{self._child.printed()}"
                )
            time.sleep(0.05)

    def _watch(self) -> None:
        """Return when the child ended, stopped listening, or a stop was asked for."""
        refused = 0
        next_probe = time.monotonic() + PROBE_INTERVAL_S
        while not self._stopping.wait(_LOOK_INTERVAL_S) and self._child.poll() is None:
            if time.monotonic() < next_probe:
                continue
            next_probe = time.monotonic() + PROBE_INTERVAL_S
            self._gate.keep_up()
            # Refused, not slow: a busy server still completes the connection, one that stopped listening does not.
            refused = refused + 1 if self._refuses() else 0
            if refused >= REFUSED_LIMIT:
                logger.warning("store: child %s stopped listening", self._child.pid)
                return

    def _refuses(self) -> bool:
        if self._backend is None:
            return True
        try:
            socket.create_connection((self._backend.host, self._backend.http_port), timeout=1).close()
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False


def _ask(backend: Backend, statement: str) -> str:
    connection = HTTPConnection(backend.host, backend.http_port, timeout=5)
    with contextlib.closing(connection):
        token = base64.b64encode(f"{PIPELINE}:{backend.passwords[PIPELINE]}".encode()).decode()
        headers = {**backend.headers, "Authorization": f"Basic {token}"}
        connection.request("POST", "/", body=statement, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace").strip()
    if answer.status != 200:
        raise StoreUnavailableError(f"the store answered {answer.status}: {text[:500]}")
    return text


def backoff_s(attempt: int) -> float:
    """Delay before restart number `attempt` (from 0), seconds: exponential, bounded, half of it random."""
    full = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(attempt, 16))
    return full / 2 + random.random() * full / 2  # noqa: S311


def _as_ours(error: OSError | SluicewayError, folder: StoreFolder) -> SluicewayError:
    if isinstance(error, SluicewayError):
        return error
    return StoreUnavailableError(f"the store in {folder.root} cannot be started: {error}")


def _describe(code: int | None) -> str:
    if code is None:
        return "running"
    return f"signal {-code}" if code < 0 else f"exit {code}"
