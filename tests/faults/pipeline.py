"""The real pipeline as a child process, a client that knows what was acked, and the proof per item afterwards."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from processors.sqlite_log import SqliteLogInspector
from schemas.log import LogSnapshot
from schemas.signals import Signal, topic
from sluiceway.config import PREFIX
from tests.conftest import free_port
from tests.faults.load import SERVICES

ROOT = Path(__file__).resolve().parents[2]
# Long enough for a machine that is busy with other things, compiling included; nothing below asserts a time.
TIMEOUT_S = 240.0

_TABLES: Mapping[Signal, tuple[tuple[str, str], ...]] = {
    Signal.TRACES: (("otel_traces", "SpanAttributes"),),
    Signal.LOGS: (("otel_logs", "LogAttributes"),),
    Signal.METRICS: tuple(
        (f"otel_metrics_{kind}", "Attributes")
        for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    ),
}

_SPAN_KEYS = "TenantId, ServiceName, SpanName, SpanKind, StatusCode, ServiceVersion, Environment"
_LOG_KEYS = "TenantId, ServiceName, SeverityText, SeverityNumber"
# Rollup to what it holds and to the same from its base table: one row a group on each side.
_ROLLUPS: Mapping[str, tuple[str, str]] = {
    "spans_1m": (
        f"""SELECT Time AS Minute, {_SPAN_KEYS}, sum(Calls), sum(Errors), sum(DurationSum),
            toString(sumMap(DurationBuckets)) FROM spans_1m GROUP BY Minute, {_SPAN_KEYS}""",
        f"""SELECT toStartOfMinute(toDateTime(Timestamp)) AS Minute, {_SPAN_KEYS}, count(),
            countIf(StatusCode = 'Error'), sum(Duration),
            toString(sumMap(map(toUInt16(floor(log2(greatest(Duration, 1)) * 8)), toUInt64(1))))
            FROM otel_traces GROUP BY Minute, {_SPAN_KEYS}""",
    ),
    "logs_1m": (
        f"SELECT Time AS Minute, {_LOG_KEYS}, sum(Records) FROM logs_1m GROUP BY Minute, {_LOG_KEYS}",
        f"""SELECT toStartOfMinute(toDateTime(Timestamp)) AS Minute, {_LOG_KEYS}, count()
            FROM otel_logs GROUP BY Minute, {_LOG_KEYS}""",
    ),
    "otel_traces_trace_id_ts": (
        "SELECT TraceId, min(Start), max(End) FROM otel_traces_trace_id_ts GROUP BY TraceId",
        """SELECT TraceId, toDateTime(min(Timestamp)), toDateTime(max(Timestamp)) FROM otel_traces
            WHERE TraceId != '' GROUP BY TraceId""",
    ),
}


def wait_until(reached: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Poll; a condition that never comes is a failure that says what was waited for."""
    deadline_s = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:.0f} s for: {what}"
        time.sleep(0.02)


class Load:
    """The client of load.py, from the outside."""

    def __init__(self, reports: Path, process: subprocess.Popen[bytes]) -> None:
        self._reports, self._process = reports, process
        self._at = 0
        self._tail = b""
        self.outcomes: dict[Signal, dict[int, str]] = {kind: {} for kind in Signal}
        self.last_ack_ns: dict[Signal, int] = dict.fromkeys(Signal, 0)

    def read(self) -> None:
        """Take in what was reported since."""
        if not self._reports.exists():
            return
        with self._reports.open("rb") as file:
            file.seek(self._at)
            data = self._tail + file.read()
            self._at = file.tell()
        *lines, self._tail = data.split(b"\n")
        for line in lines:
            kind, first, last, outcome, at_ns = line.decode().split()
            self.outcomes[Signal(kind)].update(dict.fromkeys(range(int(first), int(last) + 1), outcome))
            if outcome == "acked":
                self.last_ack_ns[Signal(kind)] = int(at_ns)

    def count(self, outcome: str) -> Counter[Signal]:
        """Items with that outcome so far, by signal."""
        self.read()
        return Counter({kind: sum(o == outcome for o in self.outcomes[kind].values()) for kind in Signal})

    def acked_since(self, at_ns: int) -> bool:
        """Whether every signal was acknowledged after that moment of the monotonic clock."""
        self.read()
        return all(last > at_ns for last in self.last_ack_ns.values())

    def await_acks(self, what: str = "an acknowledgement of every signal") -> None:
        """Wait until each signal was acknowledged after now."""
        now_ns = time.monotonic_ns()
        wait_until(lambda: self.acked_since(now_ns), what)

    def stop(self) -> None:
        """No more requests; the answers to those under way are reported."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(TIMEOUT_S)
        self.read()


@dataclass
class Proof:
    """What was found in the store of what was sent, in items."""

    acked: int = 0
    refused: int = 0
    unknown: int = 0
    found: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"acked {self.acked}, refused {self.refused}, unknown {self.unknown}, found {self.found}"


class Pipeline:
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
        self.grpc_port, self.http_port, self.store_port, viewer_port = (free_port() for _ in range(4))
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            "SLUICEWAY_DATA_DIR": str(self.data),
            "SLUICEWAY_INGEST__GRPC_PORT": str(self.grpc_port),
            "SLUICEWAY_INGEST__HTTP_PORT": str(self.http_port),
            "SLUICEWAY_STORE__HTTP_PORT": str(self.store_port),
            "SLUICEWAY_VIEWER__PORT": str(viewer_port),
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

    def ask(self, sql: str) -> list[list[str]] | None:
        """The store's answer as rows of text, as the read-only user; None while it cannot answer."""
        url = f"http://127.0.0.1:{self.store_port}/?database=otel&default_format=TabSeparated"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, sql.encode()), timeout=60) as answer:
                text: str = answer.read().decode()
                return [line.split("\t") for line in text.splitlines()]
        except urllib.error.HTTPError as error:
            # No table yet, or shutting down; a question of ours that can never be answered must be seen.
            if error.headers.get("X-ClickHouse-Exception-Code") in ("47", "62"):
                raise
            return None
        except OSError:
            return None

    def number(self, sql: str) -> int:
        """One number, 0 while the store cannot answer."""
        rows = self.ask(sql)
        return int(rows[0][0]) if rows else 0

    def await_batch(self) -> None:
        """Wait until a batch of every signal was written after now."""
        stored = "SELECT Signal, count() FROM ledger WHERE TableName = '' GROUP BY Signal"
        before: dict[str, int] = {}

        def known() -> bool:
            rows = self.ask(stored)
            before.update({kind: int(count) for kind, count in rows or ()})
            return rows is not None

        def more() -> bool:
            now = {kind: int(count) for kind, count in self.ask(stored) or ()}
            return all(now.get(kind, 0) > before.get(kind, 0) for kind in Signal)

        wait_until(known, "the store and its schema")
        wait_until(more, "a batch of every signal")

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
        proof = Proof()
        for kind in Signal:
            self._prove_items(proof, kind, load.outcomes[kind])
        for name, (rolled_up, counted) in _ROLLUPS.items():
            held, right = self.ask(rolled_up), self.ask(counted)
            different = {tuple(row) for row in held or ()} ^ {tuple(row) for row in right or ()}
            if different or not held:
                proof.wrong.append(f"{name} differs from its base table: {sorted(different)[:10]}")
        letters = self.snapshot().dead_letters
        if letters:
            proof.wrong.append(f"dead letters {letters}")
        code, said = self.command("audit", "--timeout", "60")
        if code != 0:
            proof.wrong.append(f"audit ended with {code}:\n{said}")
        return proof

    def _prove_items(self, proof: Proof, kind: Signal, outcomes: Mapping[int, str]) -> None:
        found: Counter[int] = Counter()
        for table, attributes in _TABLES[kind]:
            rows = self.ask(f"SELECT {attributes}['load.id'] FROM {table} WHERE ServiceName IN {SERVICES}")
            if rows is None:
                proof.wrong.append(f"{table} cannot be read")
                return
            found.update(int(row[0]) for row in rows)
        sent = Counter(outcomes.values())
        proof.acked += sent["acked"]
        proof.refused += sent["refused"]
        proof.unknown += sent["unknown"]
        proof.found += found.total()
        wrong = {
            "acked and missing": [n for n, outcome in outcomes.items() if outcome == "acked" and not found[n]],
            "refused and there": [n for n, outcome in outcomes.items() if outcome == "refused" and found[n]],
            "there more than once": [n for n, times in found.items() if times > 1],
            "there and never sent": [n for n in found if n not in outcomes],
            "answered in part": [n for n, outcome in outcomes.items() if outcome == "partial"],
        }
        proof.wrong += [f"{kind}: {len(n)} {what}: {sorted(n)[:20]}" for what, n in wrong.items() if n]

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
