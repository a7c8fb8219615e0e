"""`python -m bench.wire`: what LZ4 on the way to the store costs and saves; CPU of both sides, bytes between them.

One real batch of spans is inserted again and again into a table that keeps nothing, so what differs is the wire. The
ways take turns, so that a noisy moment meets all of them.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path
from typing import Literal

from bench import spans
from bench.usage import cpu_s
from processors import native, schema
from processors.arena import Arena
from processors.decode import decode
from processors.insert import StoreInserter, lz4_frame
from processors.store_client import connect
from schemas.columns import BY_NAME
from schemas.log import Record
from schemas.settings import RetentionSettings, StoreSettings
from schemas.signals import Signal, topic
from sluiceway.embedded.store import EmbeddedStore
from tests.testbed.parts import free_ports

ROUNDS = 15
INSERTS_A_ROUND = 4
# What a batch holds under load: settings batch.max_rows over 512 spans a request.
RECORDS_A_BATCH = 196
WAYS: tuple[Literal["none", "lz4"], ...] = ("none", "lz4")


def main() -> None:
    """Print one line a way."""
    columns = BY_NAME["otel_traces"].columns
    with tempfile.TemporaryDirectory() as named:
        folder, now_ns = Path(named), time.time_ns()
        dataset = spans.make(folder, RECORDS_A_BATCH, seed=1, first_start_ns=now_ns)
        records = [
            Record(topic(Signal.TRACES), 0, offset, body, "", now_ns, None)
            for offset, body in zip(range(RECORDS_A_BATCH), spans.read(dataset.path), strict=False)
        ]
        decoded = decode(Signal.TRACES, records, Arena()).tables["otel_traces"]
        body = native.encode(decoded, columns, Arena())
        rows = decoded.num_rows
        wire_bytes = {"none": len(body), "lz4": sum(map(len, lz4_frame(body)))}
        with EmbeddedStore(folder / "store", StoreSettings(http_port=free_ports(1)[0])) as store:
            # The measure is of the way, not of what comes after it.
            cost = _measure(store, body, [column.name for column in columns], rows)
        for way in WAYS:
            client, server = cost[way]
            size = wire_bytes[way] / rows
            print(f"{way:5} {size:6.1f} bytes/row  client {client:.3f} us/row  server {server:.3f} us/row")


def _measure(store: EmbeddedStore, body: memoryview, names: list[str], rows: int) -> dict[str, tuple[float, float]]:
    client = connect(store.url, user=store.writer_user, password=store.writer_password, database=store.database)
    schema.apply(client, store.database, RetentionSettings())
    client.command("CREATE TABLE discarded AS otel_traces ENGINE = Null")
    pid = store.pid
    assert pid is not None
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    for round_number in range(ROUNDS + 1):
        for way in WAYS:
            inserter = StoreInserter(lambda: client, store.database, compression=way)
            ours, theirs = time.process_time(), cpu_s(pid)
            for number in range(INSERTS_A_ROUND):
                inserter.native("discarded", names, body, rows, f"{round_number}:{way}:{number}")
            if round_number:
                spent = time.process_time() - ours, cpu_s(pid) - theirs
                found[way].append((spent[0] / rows / INSERTS_A_ROUND * 1e6, spent[1] / rows / INSERTS_A_ROUND * 1e6))
    client.close()
    return {way: (statistics.median(c for c, _ in each), statistics.median(s for _, s in each))
            for way, each in found.items()}  # fmt: skip


if __name__ == "__main__":
    main()
