"""The real pipeline, `sluiceway up` in a folder of its own: OTLP requests to durable rows, all processes counted.

Counted: everything between the first request and the end of a final merge of every table, in Sluiceway and in its
store, self-telemetry, viewer and rollups included. Not counted: the start and the warm-up; the final merge
is shared out over all rows, those of the warm-up included. The service map is measured after it, by itself.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from bench import store
from bench.receive import send_file
from bench.spans import Dataset
from bench.usage import Meter
from processors.service_map.settle import Settler
from processors.settings import ServiceMapSettings
from schemas.settings import RetentionSettings
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.users import WRITER
from tests.testbed.parts import free_ports

READY_TIMEOUT_S = 300
TABLE = "otel.otel_traces"


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU seconds of the pipeline itself and of its store for `spans` spans, and the largest resident sum, bytes."""

    agent_s: float
    store_s: float
    final_merge_s: float
    spans: int
    resident_bytes: int
    bytes_a_row: float = 0.0
    elapsed_s: float = 0.0
    service_map_s: float = 0.0

    def us(self, seconds: float) -> float:
        """Microseconds a span."""
        return seconds / self.spans * 1e6

    @property
    def us_per_span(self) -> float:
        """All CPU, microseconds a span."""
        return self.us(self.agent_s + self.store_s + self.final_merge_s)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A running `sluiceway up`."""

    pid: int
    address: str
    client: Client
    folder: Path


@contextlib.contextmanager
def pipeline(folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Pipeline]:
    """Run `sluiceway up` in `folder` with free ports; ended in order on leaving.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    grpc_port, http_port, store_port, viewer_port = free_ports(4)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLUICEWAY_")} | {
        "SLUICEWAY_INGEST__GRPC_PORT": str(grpc_port),
        "SLUICEWAY_INGEST__HTTP_PORT": str(http_port),
        "SLUICEWAY_STORE__HTTP_PORT": str(store_port),
        "SLUICEWAY_VIEWER__PORT": str(viewer_port),
        **(settings or {}),
    }
    command = ["up", "--data-dir", str(folder)]
    with running(command, environment, folder / "up.log", f"http://127.0.0.1:{viewer_port}/readyz") as pid:
        secret = StoreFolder(folder / "store").writer_secret()
        client = store.connect(f"http://127.0.0.1:{store_port}", WRITER, secret)
        yield Pipeline(pid, f"127.0.0.1:{grpc_port}", client, folder)
        client.close()


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], printed: Path, probe: str) -> Iterator[int]:
    """A `sluiceway` command until leaving, in the folder of what it prints; its process id once `probe` answers 200.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    with printed.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-m", "sluiceway", *command], env=environment, stdout=out, stderr=subprocess.STDOUT
        )
    try:
        await_ready(child, probe, printed)
        yield child.pid
    finally:
        child.terminate()
        try:
            child.wait(60)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def await_ready(child: subprocess.Popen[bytes], url: str, printed: Path) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s:
        if child.poll() is not None:
            raise RuntimeError(f"sluiceway ended with {child.returncode}:\n{printed.read_text()[-4000:]}")
        with contextlib.suppress(OSError, urllib.error.URLError), urllib.request.urlopen(url, timeout=2) as reply:  # noqa: S310
            if reply.status == 200:
                return
        time.sleep(0.2)
    raise RuntimeError(f"sluiceway was not ready within {READY_TIMEOUT_S} s:\n{printed.read_text()[-4000:]}")


def measure(dataset: Dataset, folder: Path, *, rollups: bool = True) -> Cost:
    """Send the dataset once through a fresh pipeline in `folder`.

    Args:
        rollups: False drops their views before the load, to see what they cost. Where a trace lies stays, an index.

    Raises:
        RuntimeError: other rows than the acknowledged spans are stored, in the base table or in the rollup.
    """
    folder.mkdir(parents=True)
    # Minutes under load are settled when they are over, which a run of seconds would see or not: measured by itself.
    with pipeline(folder, {"SLUICEWAY_SERVICE_MAP__ENABLED": "false"}) as running:
        client = running.client
        if not rollups:
            _drop_rollups(client)
        send_file(running.address, dataset.warm_up)
        _await_spans(client, dataset.warm_up_spans)
        store.await_merges(client)
        meter = Meter(running.pid)
        started_s = time.monotonic()
        send_file(running.address, dataset.path)
        expected = dataset.warm_up_spans + dataset.spans
        _await_spans(client, expected)
        elapsed_s = time.monotonic() - started_s
        store.await_merges(client)
        inserted = meter.used_s()
        store.merge_all(client)
        _await_spans(client, expected)
        merged = meter.used_s()
        resident = meter.close()
        service_map_s = 0.0
        if rollups:
            service_map_s = _settle_map(client, meter, running.pid)
            calls = store.number(client, "SELECT sum(Calls) FROM otel.spans_1m WHERE ServiceName != 'sluiceway'")
            if calls != expected:
                raise RuntimeError(f"spans_1m: must count {expected} calls, counts {calls}")
        table_bytes = store.bytes_on_disk(client, "otel_traces")
    agent_s = merged[running.pid]
    store_s = sum(used for pid, used in inserted.items() if pid != running.pid)
    final_s = sum(used for pid, used in merged.items() if pid != running.pid) - store_s
    final_s *= dataset.spans / expected
    return Cost(agent_s, store_s, final_s, dataset.spans, resident, table_bytes / expected, elapsed_s,
                service_map_s * dataset.spans / expected)  # fmt: skip


def _drop_rollups(client: Client) -> None:
    views = client.query(
        "SELECT name FROM system.tables WHERE database = 'otel' AND engine = 'MaterializedView'"
        " AND name != 'otel_traces_trace_id_ts_mv'"
    ).result_rows
    for (view,) in views:
        client.command(f"DROP VIEW otel.{view}")


def _settle_map(client: Client, meter: Meter, agent: int) -> float:
    """CPU seconds that the store takes to make the edges of all that was sent, once."""
    before = meter.used_s()
    client.database = "otel"
    if not Settler(client, ServiceMapSettings(), RetentionSettings().traces_days).settle():
        raise RuntimeError("service map: must have minutes to settle, has none")
    return sum(used - before[pid] for pid, used in meter.used_s().items() if pid != agent)


def _await_spans(client: Client, spans: int) -> None:
    # Our own spans come and go with the pipeline's batches; they are no part of what was sent.
    store.await_rows(client, f"{TABLE} WHERE ServiceName != 'sluiceway'", spans)
