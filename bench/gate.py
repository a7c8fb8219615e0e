"""What the gate in front of the embedded store costs a reader: `python -m bench.gate`.

The same user asks the engine itself and through the gate, in turns, over one kept connection each.
"""

from __future__ import annotations

import http.client
import statistics
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

from bench.usage import cpu_s, resident_bytes
from schemas.settings import StoreSettings
from sluiceway.embedded.backend import Backend
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.embedded.users import READER
from tests.testbed.parts import free_ports

SMALL = "SELECT 1"
SMALL_QUERIES = 2000
# 128 MB of Native blocks, under a reader's bounds on rows and bytes.
LARGE = "SELECT number, repeat('x', 120) AS text FROM numbers(1000000) FORMAT Native"
LARGE_QUERIES = 7


class Door:
    """One way in, over one kept connection."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
        self._headers = headers

    def ask(self, statement: str) -> tuple[float, int]:
        """Seconds until the whole answer is here, and its bytes."""
        started = time.perf_counter()
        self._connection.request("POST", "/", body=statement.encode(), headers=self._headers)
        answer = self._connection.getresponse()
        size = 0
        while piece := answer.read(1 << 20):
            size += len(piece)
        assert answer.status == 200, piece
        return time.perf_counter() - started, size


def main() -> None:
    """Print p50 and p95 of a small query, MB/s of a large answer, and the gate's own CPU and memory."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        with EmbeddedStore(root, StoreSettings(http_port=free_ports(1)[0])) as store:
            backend = Backend.read(StoreFolder(root).backend)
            assert backend is not None
            assert store.gate_pid is not None
            login = {"X-ClickHouse-User": READER, "X-ClickHouse-Key": backend.passwords[READER]}
            doors = {"engine": Door(backend.url, backend.headers | login), "gate": Door(store.url, {})}
            for door in doors.values():
                for _ in range(50):
                    door.ask(SMALL)
            times: dict[str, list[float]] = {name: [] for name in doors}
            used_s = cpu_s(store.gate_pid)
            for _ in range(SMALL_QUERIES):
                for name, door in doors.items():
                    times[name].append(door.ask(SMALL)[0])
            used_s = cpu_s(store.gate_pid) - used_s
            for name, each in times.items():
                cuts = statistics.quantiles(each, n=100)
                print(f"{name:7} small query   p50 {cuts[49] * 1e3:6.2f} ms   p95 {cuts[94] * 1e3:6.2f} ms")
            print(f"gate    CPU of a small query {used_s / SMALL_QUERIES * 1e3:.2f} ms")
            rates: dict[str, list[float]] = {name: [] for name in doors}
            used_s, moved = cpu_s(store.gate_pid), 0
            for _ in range(LARGE_QUERIES):
                for name, door in doors.items():
                    seconds, size = door.ask(LARGE)
                    rates[name].append(size / seconds / 1e6)
                    moved += size if name == "gate" else 0
            used_s = cpu_s(store.gate_pid) - used_s
            for name, each in rates.items():
                print(f"{name:7} large answer  {statistics.median(each):6.0f} MB/s")
            print(
                f"gate    CPU {used_s / moved * 1e9:.2f} s a GB, resident {resident_bytes(store.gate_pid) / 1e6:.0f} MB"
            )


if __name__ == "__main__":
    main()
