"""One run of the store child: what must hold before it starts, its command line, its orderly end."""

from __future__ import annotations

import contextlib
import fcntl
import importlib.metadata
import ipaddress
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

import sluiceway
from schemas.errors import ConfigurationError, StoreUnavailableError
from schemas.settings import StoreSettings
from sluiceway.embedded.backend import Backend
from sluiceway.embedded.folder import StoreFolder

# The entry is private Python on top of a documented feature, so only the version that we tested is started.
ENGINE_VERSION = "26.9.0"
ENGINE_MODULE = "sluiceway.embedded.engine"
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ", "VIRTUAL_ENV")
# One arena: what one thread freed serves the next, where an arena for each CPU kept pages that the other lacked. Pages
# go back after ten seconds: after one, each insert of a second faulted its working memory in anew, a fifth of the
# store's CPU (docs/benchmarks.md). With one arena the peak is as low as with an arena a CPU and one second.
_ALLOCATOR = "percpu_arena:disabled,narenas:1,dirty_decay_ms:10000,muzzy_decay_ms:0"
INSTALL = f'pip install "chdb-core=={ENGINE_VERSION}"'


def check_engine() -> None:
    """Refuse to start on an engine that cannot serve.

    Raises:
        ConfigurationError: chdb-core is missing or of another version; the message says what to install.
    """
    found = {name: _version(name) for name in ("chdb-core", "chdb-core-lite")}
    # The light wheel unpacks over the same package, so its files win when both are installed.
    if found["chdb-core-lite"] is not None:
        raise ConfigurationError(
            f"store engine: must be chdb-core {ENGINE_VERSION}, received chdb-core-lite "
            f"{found['chdb-core-lite']}, which cannot listen; run: "
            f"pip uninstall -y chdb-core-lite && {INSTALL} --force-reinstall"
        )
    if found["chdb-core"] != ENGINE_VERSION:
        received = "no chdb-core at all" if found["chdb-core"] is None else f"chdb-core {found['chdb-core']}"
        raise ConfigurationError(
            f"store engine: must be chdb-core {ENGINE_VERSION}, received {received}; run: {INSTALL} "
            "(or name a `clickhouse` binary in store.binary)"
        )


def check_binary(binary: Path) -> None:
    """Refuse a `clickhouse` binary that cannot be run.

    Raises:
        ConfigurationError: it is no executable file.
    """
    if not (binary.is_file() and os.access(binary, os.X_OK)):
        raise ConfigurationError(f"store.binary: must be an executable file, received {binary}")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def check_host(host: str) -> None:
    """Refuse to listen wider than loopback: the read-only user has no password.

    Raises:
        ConfigurationError: `host` is not a loopback address.
    """
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigurationError(
            f"store.host: must be a loopback address because readers need no password, received {host!r}"
        )


def python_path() -> str:
    """`PYTHONPATH` for a child that starts in the data folder: where this very code lies comes first."""
    root = str(Path(sluiceway.__file__).resolve().parents[1])
    inherited = os.environ.get("PYTHONPATH")
    return root if not inherited else f"{root}{os.pathsep}{inherited}"


class Child:
    """One engine process on one folder."""

    def __init__(self, folder: StoreFolder, settings: StoreSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id, None before the spawn."""
        return self._process.pid if self._process else None

    def command(self, mode: str, backend: Backend | None = None) -> list[str]:
        """The command line: `prepare`, or `serve` on the ports of `backend`.

        A binary is started through our launcher, so that it dies with us.
        """
        # -P keeps the working folder out of the import path.
        launcher = [sys.executable, "-P", "-m", ENGINE_MODULE, str(os.getpid()), str(self._folder.root)]
        if self._settings.binary is not None:
            config = f"--config-file={self._folder.server / 'config.xml'}"
            return [*launcher, "exec", str(self._settings.binary), "server", config]
        if backend is None:
            return [*launcher, mode]
        if backend.native_port is None:
            return [*launcher, mode, str(backend.http_port)]
        return [*launcher, f"{mode}-native", str(backend.http_port), str(backend.native_port)]

    def spawn(self, mode: str, backend: Backend | None = None) -> None:
        """Start the process. The calling thread MUST outlive it: its end is what PR_SET_PDEATHSIG reports."""
        with self._output("ab") as output:
            self._process = subprocess.Popen(
                self.command(mode, backend),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._folder.root,
                env=self._environment(),
                # Ctrl-C in a terminal reaches the whole group; the store must outlive our own drain.
                start_new_session=True,
            )

    def prepare(self) -> None:
        """Make the table that the serving child waits on; once per folder, and again where a kill left it half made.

        Raises:
            StoreUnavailableError: the engine failed; the message carries what it printed.
        """
        if self._settings.binary is not None or self._folder.prepared.exists():
            return
        self.spawn("prepare")
        code = self.wait(self._settings.start_timeout_s)
        self.kill()
        if code != 0:
            raise StoreUnavailableError(f"the store's folder could not be prepared (exit {code}): {self.printed()}")

    def poll(self) -> int | None:
        """The exit code, None while it runs (or was never started)."""
        return self._process.poll() if self._process else None

    def wait(self, timeout_s: float) -> int | None:
        """The exit code, or None when it still runs after `timeout_s`."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def stop(self, timeout_s: float) -> int | None:
        """End it within `timeout_s`: close its standard input, then SIGTERM, then SIGKILL; returns the exit code."""
        if self._process is None:
            return None
        deadline = time.monotonic() + timeout_s
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        # A `clickhouse` binary does not read its standard input.
        first_s = 0.0 if self._settings.binary is not None else timeout_s * 0.7
        code = self.wait(first_s)
        if code is None:
            self._signal(signal.SIGTERM)
            code = self.wait(max(0.1, (deadline - time.monotonic()) * 0.8))
        if code is None:
            self.kill()
            code = self.poll()
        return code

    def kill(self) -> None:
        """SIGKILL, and wait for the kernel to have cleaned up."""
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.wait()
            if self._process.stdin is not None:
                with contextlib.suppress(OSError):
                    self._process.stdin.close()

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def printed(self, limit: int = 2000) -> str:
        """The end of what the child printed, for an error message."""
        try:
            text = self._output_path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return "nothing printed"
        lines = [line for line in text.splitlines() if line and not line.startswith("Logging ")]
        return "\n".join(lines)[-limit:] or "nothing printed"

    @property
    def _output_path(self) -> Path:
        return self._folder.logs / "child.log"

    def _output(self, mode: str) -> IO[bytes]:
        # Only the last run's output is of use, and a crash loop must not fill the disk.
        with contextlib.suppress(FileNotFoundError):
            self._output_path.replace(self._output_path.with_suffix(".log.1"))
        return self._output_path.open(mode)

    def _environment(self) -> dict[str, str]:
        # Not all of ours: /proc/self/environ is a file that queries may be able to read.
        kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
        return {
            **kept,
            "PYTHONPATH": python_path(),
            "TMPDIR": str(self._folder.prepare),
            "JE_MALLOC_CONF": _ALLOCATOR,
        }


def await_predecessor(lock: Path, timeout_s: float) -> int:
    """Hold `lock` once no child of a killed parent does, which may still be on its way out; returns the descriptor.

    Raises:
        ConfigurationError: one still does after `timeout_s`.
    """
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                raise ConfigurationError(
                    f"data folder: must not be in use by another engine or gate, received {lock.parent}, "
                    f"still locked after {timeout_s:.0f} s; find it with: fuser {lock}"
                ) from None
            time.sleep(0.05)
        else:
            return descriptor
