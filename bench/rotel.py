"""The peer: Rotel feeding the OpenTelemetry exporter's stock table on the same store code; our blocks into that table.

The binary is BENCH_ROTEL, or else the one in the `rotel` wheel. Rotel runs as its makers tune it for ClickHouse:
synchronous inserts, large batches, LZ4.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import subprocess
import time
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import grpc
from clickhouse_connect.driver.client import Client

from bench import store
from bench.end_to_end import TABLE, Cost
from bench.receive import send_file
from bench.spans import SPANS_A_REQUEST, Dataset, read
from bench.usage import Meter
from processors import native
from processors.arena import Arena
from processors.decode import decode
from processors.insert import StoreInserter
from processors.store_client import connect
from schemas.columns import BY_NAME
from schemas.log import Record
from schemas.settings import MIB, StoreSettings
from schemas.signals import Signal, topic
from sluiceway.embedded.store import EmbeddedStore
from tests.testbed.parts import free_ports

ROTEL_BATCH_SPANS = 50_000
# As the pipeline's batch.max_rows, in whole requests.
RECORDS_A_BATCH = -(-100_000 // SPANS_A_REQUEST)
_START_TIMEOUT_S = 30


def binary() -> Path:
    """Where Rotel is.

    Raises:
        RuntimeError: neither BENCH_ROTEL nor the wheel names one.
    """
    if named := os.environ.get("BENCH_ROTEL"):
        return Path(named)
    found = importlib.util.find_spec("rotel")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError("rotel: set BENCH_ROTEL to a binary or install the bench extra: pip install -e '.[bench]'")
    return Path(found.submodule_search_locations[0]) / "rotel-agent"


def version() -> str:
    """What the binary says that it is."""
    return subprocess.run([binary(), "--version"], check=True, capture_output=True, text=True).stdout.strip()


@contextlib.contextmanager
def stock_store(folder: Path, *, native_port: int | None = None) -> Iterator[tuple[EmbeddedStore, Client]]:
    """The store that the pipeline runs, holding nothing but the stock table."""
    # RowBinary inserts of this size take more memory than our own bound allows.
    settings = StoreSettings(http_port=free_ports(1)[0], native_port=native_port, max_memory_bytes=4096 * MIB)
    with EmbeddedStore(folder, settings) as running:
        client = store.connect(running.url, running.writer_user, running.writer_password)
        client.command(resources.files("bench").joinpath("stock_traces.sql").read_text(encoding="utf-8"))
        yield running, client
        client.close()


def store_pid(running: EmbeddedStore) -> int:
    if running.pid is None:
        raise RuntimeError("the store is away")
    return running.pid


def store_s(client: Client, watched: Meter, dataset: Dataset) -> tuple[float, float]:
    """Wait for the merges, then merge a last time: the store's part until then, the spans' share of the last."""
    store.await_merges(client)
    inserted_s = watched.total_s()
    store.merge_all(client)
    share = dataset.spans / (dataset.warm_up_spans + dataset.spans)
    return inserted_s, (watched.total_s() - inserted_s) * share


def measure(dataset: Dataset, folder: Path) -> Cost:
    """Send the dataset once through Rotel into a fresh stock table.

    Raises:
        RuntimeError: the table holds another number of rows than spans were acknowledged.
    """
    folder.mkdir(parents=True)
    with stock_store(folder / "store") as (running, client):
        grpc_port, http_port = free_ports(2)
        command = [
            str(binary()), "start", "--otlp-grpc-endpoint", f"127.0.0.1:{grpc_port}", "--otlp-http-endpoint",
            f"127.0.0.1:{http_port}", "--exporter", "clickhouse", "--clickhouse-exporter-endpoint", running.url,
            "--clickhouse-exporter-database", "otel", "--clickhouse-exporter-user", running.writer_user,
            "--clickhouse-exporter-password", running.writer_password, "--clickhouse-exporter-async-insert", "false",
            "--clickhouse-exporter-request-timeout", "60s", "--batch-max-size", str(ROTEL_BATCH_SPANS),
            "--batch-timeout", "1s",
        ]  # fmt: skip
        with (folder / "rotel.log").open("wb") as printed:
            agent = subprocess.Popen(command, stdout=printed, stderr=subprocess.STDOUT)
        try:
            address = f"127.0.0.1:{grpc_port}"
            with grpc.insecure_channel(address) as channel:
                grpc.channel_ready_future(channel).result(_START_TIMEOUT_S)
            send_file(address, dataset.warm_up)
            store.await_rows(client, TABLE, dataset.warm_up_spans)
            store.await_merges(client)
            rotel, watched = Meter(agent.pid), Meter(store_pid(running))
            started_s = time.monotonic()
            send_file(address, dataset.path)
            store.await_rows(client, TABLE, dataset.warm_up_spans + dataset.spans)
            elapsed_s = time.monotonic() - started_s
            agent_s = rotel.total_s()
            resident = rotel.close() + watched.close()
            inserted_s, final_s = store_s(client, watched, dataset)
            rows = dataset.warm_up_spans + dataset.spans
            bytes_a_row = store.bytes_on_disk(client, "otel_traces") / rows
        finally:
            agent.terminate()
            agent.wait()
    return Cost(agent_s, inserted_s, final_s, dataset.spans, resident, bytes_a_row, elapsed_s)


def measure_identical_table(dataset: Dataset, folder: Path) -> Cost:
    """What the store uses for our own blocks in the stock table. `agent_s` is 0: that part is measured end to end.

    Raises:
        RuntimeError: the table holds another number of rows than were inserted.
    """
    folder.mkdir(parents=True)
    with stock_store(folder / "store") as (running, client):
        stock = {row[0] for row in client.query("DESCRIBE TABLE otel.otel_traces").result_rows}
        columns = [column for column in BY_NAME["otel_traces"].columns if column.name in stock]
        names = [column.name for column in columns]
        inserter = StoreInserter(
            lambda: connect(running.url, user=running.writer_user, password=running.writer_password), "otel"
        )
        arena = Arena()

        def insert(path: Path) -> None:
            bodies = list(read(path))
            for start in range(0, len(bodies), RECORDS_A_BATCH):
                records = [
                    Record(topic(Signal.TRACES), 0, start + at, body, "", 0, None)
                    for at, body in enumerate(bodies[start : start + RECORDS_A_BATCH])
                ]
                rows = decode(Signal.TRACES, records, arena).tables["otel_traces"].select(names)
                body = native.encode(rows, columns, arena)
                inserter.native("otel_traces", names, body, rows.num_rows, f"{path.name}:{start}")

        insert(dataset.warm_up)
        store.await_merges(client)
        watched = Meter(store_pid(running))
        insert(dataset.path)
        inserter.close()
        expected = dataset.warm_up_spans + dataset.spans
        store.await_rows(client, TABLE, expected)
        watched.close()
        inserted_s, final_s = store_s(client, watched, dataset)
        return Cost(0.0, inserted_s, final_s, dataset.spans, 0, store.bytes_on_disk(client, "otel_traces") / expected)
