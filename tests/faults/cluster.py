"""The pipeline past one machine, under test: ingest and process as processes of their own, a broker, a store by URL.

`Deployment` starts, kills and counts them. Topics and groups are fresh, so a broker and a store may be shared.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from processors.kafka_log_inspect import KafkaLogInspector
from schemas.errors import LogUnavailableError
from schemas.kafka_settings import KafkaSettings
from schemas.log import Progress
from schemas.signals import Signal
from sluiceway.config import PREFIX
from tests.faults.load import BLOCK
from tests.faults.proof import TIMEOUT_S, Evidence, Load, Proof, wait_until
from tests.kafka_broker import fresh_name
from tests.remote_store import RemoteStore
from tests.testbed.parts import Part, free_ports

ROOT = Path(__file__).resolve().parents[2]
# One for each client of a session: those that share a store send different numbers.
_blocks = itertools.count()

_SHORT: Mapping[str, str] = {
    # Short batches, so that a random moment is seldom between two of them.
    "BATCH__MAX_AGE_S": "0.2",
    # Short waits: what is tested is what happens, not how patiently.
    "BATCH__RETRY_MAX_S": "2",
    "BATCH__CIRCUIT_OPEN_MAX_S": "2",
    "INGEST__CIRCUIT_OPEN_MAX_S": "2",
    # A client hears before the outcome is known, and comes again meanwhile.
    "INGEST__APPEND_TIMEOUT_S": "5",
    "INGEST__DRAIN_TIMEOUT_S": "10",
}


class Member:
    """One `sluiceway ingest` or `sluiceway process`, with ports and a folder that outlive its restarts."""

    def __init__(self, role: str, folder: Path, environment: Mapping[str, str]) -> None:
        self.role = role
        self.grpc_port, self.http_port, self.viewer_port = free_ports(3)
        self._part = Part(role, folder)
        self._environment = {
            **environment,
            "SLUICEWAY_DATA_DIR": str(folder / "data"),
            "SLUICEWAY_INGEST__GRPC_PORT": str(self.grpc_port),
            "SLUICEWAY_INGEST__HTTP_PORT": str(self.http_port),
            "SLUICEWAY_VIEWER__PORT": str(self.viewer_port),
            # Each point is a series of its own here, named by its number: beyond a budget it would lose its name.
            "SLUICEWAY_GUARD__SERIES_BUDGETS": "false",
        }

    def start(self) -> None:
        """Start it; returns at once."""
        self._part.spawn([sys.executable, "-m", "sluiceway", self.role], self._environment)

    def kill(self) -> None:
        """SIGKILL."""
        self._part.kill()

    def stop(self) -> int | None:
        """SIGTERM; the exit code."""
        return self._part.stop(TIMEOUT_S)

    def begin_stop(self) -> None:
        """SIGTERM, without waiting."""
        self._part.signal(signal.SIGTERM)

    def freeze(self) -> None:
        """SIGSTOP."""
        self._part.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self._part.thaw()

    def set(self, name: str, value: str) -> None:
        """Another setting from the next start on, by environment name without the prefix."""
        self._environment[PREFIX + name] = value

    @property
    def pid(self) -> int:
        return self._part.pid

    @property
    def exit_code(self) -> int | None:
        """Of the last run; None while it runs."""
        return self._part.exit_code

    @property
    def running(self) -> bool:
        return self._part.running

    @property
    def said(self) -> str:
        """All that it printed, over all its starts."""
        return self._part.printed().decode(errors="replace")

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one of its pages; 0 when it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.viewer_port}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    @property
    def ready(self) -> bool:
        return self.get("/readyz")[0] == 200


class Recoveries(list[tuple[float, float]]):
    """What `Deployment.recovered` measured after each fault, for a report."""

    def __str__(self) -> str:
        if not self:
            return "nothing measured"
        acked, stored = ([pair[which] for pair in self] for which in (0, 1))
        return f"acked again after {_spread(acked)} s, all of it stored after {_spread(stored)} s"


class Deployment(Evidence):
    """Processes around one broker and one store, the loads that were sent to them, and the proof of all of these.

    Args:
        bootstrap: of brokers that run, now or later.
        store: where the rows are looked for.
        store_url: where the processes reach it, for a proxy between; none means the store itself.
        kafka, settings: more of `kafka.*` by name, and of all settings by environment name without the prefix.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        store: RemoteStore,
        *,
        store_url: str | None = None,
        ingests: int = 1,
        processors: int = 2,
        kafka: Mapping[str, object] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(store.port)
        self.folder = folder
        self.store = store
        self.kafka = KafkaSettings.model_validate(
            {
                "bootstrap_servers": bootstrap.split(","),
                "group": fresh_name("process"),
                "traces_topic": fresh_name("spans"),
                "metrics_topic": fresh_name("metrics"),
                "logs_topic": fresh_name("logs"),
                "partitions": 3,
                "replication_factor": 1,
                "min_insync_replicas": 1,
                "session_timeout_s": 3,
                "max_poll_interval_s": 20,
                "request_timeout_s": 5,
                # Beyond every fault but the longest, as the default is: an append that waits becomes known.
                "delivery_timeout_s": 40,
                **(kafka or {}),
            }
        )
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
        self.environment = {
            **kept,
            "PYTHONPATH": str(ROOT),
            **{f"{PREFIX}{name}": value for name, value in {**_SHORT, **(settings or {})}.items()},
            **{f"{PREFIX}KAFKA__{name.upper()}": value for name, value in _texts(self.kafka)},
            **store.environment(url=store_url or store.url),
        }
        self.ingests = [self._member("ingest", n) for n in range(ingests)]
        self.processors = [self._member("process", n) for n in range(processors)]
        # What clients other than the loads were told, by number.
        self.told: dict[Signal, dict[int, str]] = {kind: {} for kind in Signal}
        self.loads: list[Load] = []
        self._senders: list[subprocess.Popen[bytes]] = []

    @property
    def members(self) -> Sequence[Member]:
        """All processes."""
        return [*self.ingests, *self.processors]

    def start(self) -> None:
        """Start what does not run, and wait until all of it is ready."""
        for member in self.members:
            if not member.running:
                member.start()
        for member in self.members:
            wait_until(lambda m=member: m.ready or not m.running, f"{member.role} to be ready")
            assert member.running, member.said[-1000:]

    def load(self, *, requests_per_s: float = 10, sdk: bool = True) -> None:
        """Begin to send: a client to each ingest, and the SDKs to the first one."""
        for ingest in self.ingests:
            self._send("tests.faults.load", str(ingest.grpc_port), str(ingest.http_port), rate=requests_per_s)
        if sdk:
            self._send("tests.faults.sdk_load", str(self.ingests[0].grpc_port), rate=requests_per_s)

    def overload(self, clients: int) -> Path:
        """Begin to send without pause from so many clients; the file that says at the end how many requests it was."""
        ingest = self.ingests[0]
        self._send("tests.faults.overload", str(ingest.grpc_port), str(ingest.http_port), rate=clients)
        return (self.folder / f"reports-{len(self.loads) - 1}").with_suffix(".json")

    def await_acks(self, what: str = "an acknowledgement of every signal at every client") -> None:
        """Wait until each client that sends was acknowledged for each signal after now."""
        now_ns = time.monotonic_ns()
        wait_until(lambda: all(load.acked_since(now_ns) for load in self.loads if load.sending), what)

    def recovered(self) -> tuple[float, float]:
        """Wait until all goes on; seconds to an ack at every client, and until all that was acked by then is stored."""
        at_s = time.monotonic()
        self.await_acks()
        acked_s = time.monotonic() - at_s
        self.await_drained()
        return acked_s, time.monotonic() - at_s

    def refused(self) -> int:
        """Items that were not acknowledged so far, whatever their clients were told."""
        for load in self.loads:
            load.read()
        return sum(
            not outcome.startswith("acked")
            for load in self.loads
            for told in load.outcomes.values()
            for outcome in told.values()
        )

    def stop_loads(self) -> None:
        """No more requests; answers to those under way are reported."""
        for load in self.loads:
            load.stop()

    def inspector(self) -> KafkaLogInspector:
        """What commands look with; close it."""
        return KafkaLogInspector(self.kafka)

    def await_drained(self) -> None:
        """Wait until all that the topics hold now is committed."""
        with contextlib.closing(self.inspector()) as log:
            ends: dict[tuple[str, int], int] = {}

            def known() -> bool:
                ends.update(_positions(log)[1])
                return bool(ends)

            def drained() -> bool:
                progress, _ = _positions(log)
                return bool(progress) and all(progress[key].next_offset >= end for key, end in ends.items())

            wait_until(known, "brokers that know where the topics end")
            wait_until(drained, "everything in the log to be stored")

    def frozen(self) -> int:
        """How many partitions have a batch under way, or left so by a killed processor."""
        with contextlib.closing(self.inspector()) as log:
            progress, _ = _positions(log)
        return sum(each.frozen is not None for each in progress.values())

    def prove(self, dead_letters: Mapping[tuple[str, str], int] | None = None) -> Proof:
        """Stop the loads, let all be stored, and check every item that was ever sent; asserts nothing."""
        self.stop_loads()
        self.await_drained()
        outcomes = {kind: dict(self.told[kind]) for kind in Signal}
        for load in self.loads:
            load.read()
            for kind in Signal:
                outcomes[kind].update(load.outcomes[kind])
        proof = self.prove_items(outcomes)
        with contextlib.closing(self.inspector()) as log:
            letters = log.waiting_letters()
        if letters != dict(dead_letters or {}):
            proof.wrong.append(f"dead letters {letters}")
        code, said = self.command("audit", "--timeout", "120")
        if code != 0:
            proof.wrong.append(f"audit ended with {code}:\n{said}")
        return proof

    def command(self, *arguments: str) -> tuple[int, str]:
        """A `sluiceway` command on the same log and store; its exit code and all that it said."""
        done = subprocess.run(
            [sys.executable, "-m", "sluiceway", *arguments],
            cwd=self.folder, env=self.environment, text=True, timeout=TIMEOUT_S, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def close(self) -> None:
        """Nothing stays behind."""
        for sender in self._senders:
            sender.kill()
            sender.wait()
        # Each finishes its batch: rows without their ledger lines would look wrong to the next one on this store.
        # One SIGTERM only, as a second one ends a process at once.
        for member in self.members:
            member.stop()

    def _member(self, role: str, number: int) -> Member:
        return Member(role, self.folder / f"{role}-{number}", self.environment)

    def _send(self, module: str, *ports: str, rate: float) -> None:
        reports = self.folder / f"reports-{len(self.loads)}"
        command = [sys.executable, "-m", module, *ports, str(reports), str(rate), str(fresh_block())]
        self._senders.append(subprocess.Popen(command, cwd=ROOT))
        self.loads.append(Load(reports, self._senders[-1]))


@contextlib.contextmanager
def deployment(folder: Path, bootstrap: str, store: RemoteStore, **options: object) -> Iterator[Deployment]:
    """A deployment that is not started yet; ended at the end, however the test ended."""
    folder.mkdir(parents=True, exist_ok=True)
    running = Deployment(folder, bootstrap, store, **options)  # type: ignore[arg-type]
    try:
        yield running
    except BaseException:
        for member in running.members:
            sys.stderr.write(f"---- {member.role} on {member.viewer_port}\n{member.said[-6000:]}")
        raise
    finally:
        running.close()


def _spread(seconds: Sequence[float]) -> str:
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.1f} (most {ordered[-1]:.1f})"


def _positions(log: KafkaLogInspector) -> tuple[dict[tuple[str, int], Progress], dict[tuple[str, int], int]]:
    try:
        return log.positions()
    except LogUnavailableError:
        # A broker that has just begun finds out first who coordinates a group.
        return {}, {}


def fresh_block() -> int:
    """The first of a block of numbers that no other client of this session uses."""
    return next(_blocks) * BLOCK


def _texts(settings: KafkaSettings) -> Iterator[tuple[str, str]]:
    for name, value in settings.model_dump(exclude_unset=True).items():
        yield name, ",".join(value) if isinstance(value, tuple) else str(value)
