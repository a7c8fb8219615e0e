"""The real pipeline as a child process, a client that knows what was acked, and the proof per item afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from processors.sqlite_log import SqliteLogInspector
from schemas.log import LogSnapshot
from schemas.signals import Signal, topic
from sluiceway.config import PREFIX
from tests.conftest import free_port
from tests.faults.proof import TIMEOUT_S, Evidence, Load, Proof, wait_until

__all__ = ["TIMEOUT_S", "Load", "Pipeline", "Proof", "pipeline", "wait_until"]

ROOT = Path(__file__).resolve().parents[2]


class Pipeline(Evidence):
    """`sluiceway up` on a folder and ports of its own, to be killed and started again."""

    def __init__(
        self,
        folder: Path,
        *,
        data: Path | None = None,
        settings: Mapping[str, str] | None = None,
        remote_port: int | None = None,
    ) -> None:
        self.folder = folder
        self.data = data or folder / "data"
        self.grpc_port, self.http_port, store_port, viewer_port = (free_port() for _ in range(4))
        super().__init__(store_port)
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "SLUICEWAY_DATA_DIR": str(self.data),
            "SLUICEWAY_INGEST__GRPC_PORT": str(self.grpc_port),
            "SLUICEWAY_INGEST__HTTP_PORT": str(self.http_port),
            "SLUICEWAY_STORE__HTTP_PORT": str(store_port),
            "SLUICEWAY_VIEWER__PORT": str(viewer_port),
            # Each point is a series of its own here, named by its number: beyond a budget it would lose its name.
            "SLUICEWAY_GUARD__SERIES_BUDGETS": "false",
            # Short batches, so that a random moment is seldom between two of them.
            "SLUICEWAY_BATCH__MAX_AGE_S": "0.1",
            **(settings or {}),
        }
        if remote_port is not None:
            # The store is another process's, which `settings` name; the proof asks it on this port.
            self.store_port = remote_port
            del self.environment["SLUICEWAY_STORE__HTTP_PORT"]
        self.log_path = self.data / "log" / "log.sqlite"
        self.said = folder / "up.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._others: list[subprocess.Popen[bytes]] = []

    def start(self, *, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """`sluiceway up`; returns at once."""
        with self.said.open("ab") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sluiceway", "up"],
                cwd=self.folder, env={**self.environment, **(environment or {})}, stdin=subprocess.DEVNULL,
                stdout=said, stderr=said, start_new_session=True,
            )  # fmt: skip
        return self.process

    def command(self, *arguments: str, environment: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Another `sluiceway` command on the same folder; its exit code and all that it said."""
        done = subprocess.run(
            [sys.executable, "-m", "sluiceway", *arguments],
            cwd=self.folder, env={**self.environment, **(environment or {})}, text=True, timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def load(self, name: str = "reports", *, requests_per_s: float = 20, first: int = 0) -> Load:
        """Begin to send to it; at most this many requests of each signal a second, items numbered from `first`."""
        reports = self.folder / name
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.load", str(self.grpc_port), str(self.http_port), str(reports),
             str(requests_per_s), str(first)],
            cwd=ROOT,
        )  # fmt: skip
        self._others.append(process)
        return Load(reports, process)

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the pipeline; its store dies by its own means."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def store_pid(self) -> int | None:
        """The process id of the store that serves, None while there is none."""
        if not self.alive or self.process is None:
            return None
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        for child in (word for file in children for word in _read(file).split()):
            if b"sluiceway.embedded.engine" in _read(Path("/proc", child.decode(), "cmdline")):
                return int(child)
        return None

    def kill_store(self) -> int | None:
        """SIGKILL to the store; its process id, None when there was none."""
        pid = self.store_pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid

    def snapshot(self) -> LogSnapshot:
        """The log's own account."""
        inspector = SqliteLogInspector(self.log_path)
        try:
            return inspector.snapshot()
        finally:
            inspector.close()

    def await_drained(self) -> None:
        """Wait until all that the log holds now is committed."""
        before = self.snapshot()
        ends = {
            kind: before.progress[topic(kind), 0].next_offset + _in_flight_records(before, topic(kind))
            for kind in Signal
        }

        def drained() -> bool:
            progress = self.snapshot().progress
            return all(progress[topic(kind), 0].next_offset >= end for kind, end in ends.items())

        wait_until(drained, "everything in the log to be stored")

    def prove(self, load: Load) -> Proof:
        """Check every item that `load` ever sent against the running store; asserts nothing."""
        load.read()
        proof = self.prove_items(load.outcomes)
        letters = self.snapshot().dead_letters
        if letters:
            proof.wrong.append(f"dead letters {letters}")
        code, said = self.command("audit", "--timeout", "60")
        if code != 0:
            proof.wrong.append(f"audit ended with {code}:\n{said}")
        return proof

    def close(self) -> None:
        """Nothing stays behind."""
        for process in [*self._others, *([self.process] if self.process else [])]:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextlib.contextmanager
def pipeline(
    folder: Path,
    *,
    data: Path | None = None,
    settings: Mapping[str, str] | None = None,
    remote_port: int | None = None,
) -> Iterator[Pipeline]:
    """A pipeline that is not started yet; ended at the end, however the test ended."""
    running = Pipeline(folder, data=data, settings=settings, remote_port=remote_port)
    try:
        yield running
    except BaseException:
        sys.stderr.write(running.said.read_text(errors="replace")[-8000:] if running.said.exists() else "never started")
        raise
    finally:
        running.close()


def _in_flight_records(snapshot: LogSnapshot, name: str) -> int:
    return sum(records for (of, _, _), records in snapshot.in_flight_records.items() if of == name)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
