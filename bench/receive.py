"""Receive and append: the gRPC receiver, validation and the durable log in a process of their own; its CPU is counted.

`python -m bench.receive FOLDER` is that process: it prints its port and serves until its standard input ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.spans import Dataset
from bench.usage import cpu_s
from ingest.serve import Receivers
from ingest.settings import IngestSettings
from ingest.sqlite_log import SqliteLogWriter
from ingest.validate import warm_up
from processors.sqlite_log import SqliteLogInspector
from schemas.settings import LogSettings, RetentionSettings
from sluiceway.embedded import runtime
from sluiceway.one_cpu import OneCpu


@dataclass(frozen=True, slots=True)
class Received:
    """CPU seconds of the receiving process for `requests` requests of `spans` spans in all."""

    cpu_s: float
    requests: int
    spans: int

    @property
    def us_per_span(self) -> float:
        """CPU microseconds a span."""
        return self.cpu_s / self.spans * 1e6

    @property
    def us_per_request(self) -> float:
        """CPU microseconds a request."""
        return self.cpu_s / self.requests * 1e6


def serve(folder: Path) -> None:
    """Be the receiving process."""
    runtime.bound_arenas()
    warm_up()
    log = SqliteLogWriter(folder / "log.sqlite", LogSettings(path=None))
    with Receivers(log, IngestSettings(grpc_port=0, http_port=0), RetentionSettings()) as receivers:
        # As `sluiceway up` does.
        OneCpu().look()
        runtime.tune()
        print(receivers.grpc_port, flush=True)
        sys.stdin.read()
    log.close()


def measure(dataset: Dataset) -> Received:
    """Send the dataset once to a fresh receiving process; every span must be in its log afterwards.

    Raises:
        RuntimeError: the log holds another number of spans than were acknowledged.
    """
    with tempfile.TemporaryDirectory(prefix="bench-receive-") as name:
        folder = Path(name)
        command = [sys.executable, "-m", "bench.receive", name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
            assert child.stdout is not None
            address = f"127.0.0.1:{int(child.stdout.readline())}"
            send_file(address, dataset.warm_up)
            before_s = cpu_s(child.pid)
            send_file(address, dataset.path)
            used_s = cpu_s(child.pid) - before_s
            child.communicate("")
        inspector = SqliteLogInspector(folder / "log.sqlite")
        kept = sum(count.items for count in inspector.snapshot().counts)
        inspector.close()
    expected = dataset.warm_up_spans + dataset.spans
    if kept != expected:
        raise RuntimeError(f"receive: the log must hold {expected} spans, holds {kept}")
    return Received(used_s, dataset.requests, dataset.spans)


def send_file(address: str, path: Path, *, loop_s: float = 0.0) -> dict[str, float]:
    """Run the load generator on a file, as a process of its own; what it printed."""
    command = [sys.executable, "-m", "bench.load", address, str(path), "--loop-s", str(loop_s)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    printed: dict[str, float] = json.loads(done.stdout)
    return printed


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
