"""What every part needs: a folder that outlives the tree, free ports, a child that dies with us.

Parts are fetched or built once into `~/.cache/sluiceway` (or XDG_CACHE_HOME), under a name that holds the hash of what
they are made from, so that another version never meets an old folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import itertools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

# Below the range that Linux gives to outgoing connections, so that a port is still free when its server comes back.
# Tests side by side have ports of their own: seconds may pass between the moment that one is found free and its use.
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 8
_FIRST_PORT, _PORTS = 20_000 + _WORKER * 1_500, 1_500
# In turn: of two dozen that wait for their servers to start, drawn at random, two would be the same once in six times.
_port_numbers = itertools.count(random.randrange(_PORTS))
# The child asks the kernel to be killed with the thread that started it, then becomes the command.
_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""
_FREEZE_TIMEOUT_S = 10.0
# PR_SET_PDEATHSIG reports the end of the *thread* that started the child. This one ends with the interpreter, so a test
# may start a part from any thread.
_starter = ThreadPoolExecutor(max_workers=1, thread_name_prefix="testbed-starter")


class MissingPartError(Exception):
    """This machine lacks what a part is made with; the message is a sentence that says what to install."""


class PartFailedError(Exception):
    """A part could not be made or did not start; the message carries the end of what it printed."""


def cache_folder() -> Path:
    """Where parts are kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sluiceway"


def cached(name: str, made_from: bytes, make: Callable[[Path], None]) -> Path:
    """The folder `name-<hash of made_from>` of the cache, made at the first call.

    `make` fills a folder beside it, which is renamed at the end: what is there is whole. Processes that ask at the same
    time wait for the one that makes it.
    """
    folder = cache_folder() / f"{name}-{hashlib.sha256(made_from).hexdigest()[:12]}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            unfinished = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            try:
                make(unfinished)
                unfinished.rename(folder)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    return folder


def run(command: Sequence[str | Path], *, cwd: Path, timeout_s: float, env: dict[str, str] | None = None) -> str:
    """Run to the end; what it printed.

    Raises:
        PartFailedError: it failed or took longer.
    """
    shown = " ".join(str(word) for word in command)
    try:
        done = subprocess.run(
            command, cwd=cwd, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=timeout_s, env=None if env is None else {**os.environ, **env},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise PartFailedError(f"{shown}: must end within {timeout_s:.0f} s\n{str(error.output)[-4000:]}") from error
    if done.returncode != 0:
        raise PartFailedError(f"{shown}: must exit with 0, received {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def freeze(pid: int) -> None:
    """SIGSTOP, and wait until every thread has stopped: on a busy machine kill(2) returns long before that.

    A broker whose threads ran on for a moment has acknowledged a record that was appended after the signal.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline_s = time.monotonic() + _FREEZE_TIMEOUT_S
    while not all(_has_stopped(thread) for thread in Path(f"/proc/{pid}/task").iterdir()):
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"process {pid} still runs {_FREEZE_TIMEOUT_S:g} s after SIGSTOP")
        time.sleep(0.001)


def _has_stopped(thread: Path) -> bool:
    """Of a folder in /proc/PID/task; a thread that has ended runs no more either."""
    try:
        # proc(5): the state follows the command's name, which is in parentheses and may hold any character.
        return (thread / "stat").read_text().rpartition(")")[2].split()[0] in "TtZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that were free a moment ago, and none that this process was given before, until all were."""
    with ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port = _FIRST_PORT + next(_port_numbers) % _PORTS
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
        return ports


class Part:
    """One child process on fixed ports and a folder of its own. Not thread-safe."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.log = folder / f"{name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def pid(self) -> int:
        """Process id of the server itself, for CPU metering.

        Raises:
            PartFailedError: it was never started.
        """
        if self._process is None:
            raise PartFailedError(f"{self.name}: must be started first")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How its last run ended, negative for a signal; None while it runs or before it was started."""
        return None if self._process is None else self._process.poll()

    def spawn(self, command: Sequence[str | Path], env: dict[str, str] | None = None) -> None:
        """Start it; output is appended to `log`."""
        if self.running:
            raise PartFailedError(f"{self.name}: must not be running when it is started")
        launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), *map(str, command)]

        def start() -> subprocess.Popen[bytes]:
            with self.log.open("ab") as printed:
                return subprocess.Popen(
                    launcher, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT, cwd=self.folder,
                    env={**os.environ, **(env or {})}, start_new_session=True,
                )  # fmt: skip

        self._process = _starter.submit(start).result()

    def await_log(self, line: str, start: int, timeout_s: float) -> None:
        """Wait until `line` was printed after byte `start` of the log.

        Raises:
            PartFailedError: the process ended or took longer.
        """
        deadline_s = time.monotonic() + timeout_s
        while line.encode() not in self.printed(start):
            # Looked at before the log is read again: what it printed last counts.
            if not self.running and line.encode() not in self.printed(start):
                code = self._process.returncode if self._process else None
                raise PartFailedError(f"{self.name}: must start, received exit {code}\n{self.tail()}")
            if time.monotonic() > deadline_s:
                raise PartFailedError(f"{self.name}: must print {line!r} within {timeout_s:.0f} s\n{self.tail()}")
            time.sleep(0.05)

    def printed(self, start: int = 0) -> bytes:
        """The log from byte `start` on."""
        try:
            with self.log.open("rb") as printed:
                printed.seek(start)
                return printed.read()
        except FileNotFoundError:
            return b""

    def tail(self, limit: int = 4000) -> str:
        """The end of the log, for an error message."""
        return self.printed()[-limit:].decode(errors="replace")

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait until the kernel has cleaned up."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def freeze(self) -> None:
        """Connections stay open, nothing is answered, if it still runs."""
        if self.running:
            freeze(self.pid)

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self.signal(signal.SIGCONT)

    def stop(self, timeout_s: float = 20.0) -> int | None:
        """SIGTERM, then SIGKILL after `timeout_s`; the exit code, None if it was never started."""
        if self._process is None:
            return None
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode
