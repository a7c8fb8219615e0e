"""What the gate costs a reader of the native port: `python -m bench.gate_native`.

The same packets go to the engine itself and through the gate, in turns, over one kept connection each.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench.usage import cpu_s
from schemas.settings import StoreSettings
from sluiceway.embedded.backend import Backend
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.embedded.users import READER
from tests.native_protocol import EMPTY_DATA, ByHand, query
from tests.testbed.parts import free_ports

SMALL_QUERIES = 2000
LARGE_QUERIES = 7
LARGE = "SELECT number, repeat('x', 120) AS text FROM numbers(1000000)"


class Door(ByHand):
    """One way in."""

    def __init__(self, port: int, user: str = "default", password: str = "") -> None:
        super().__init__(port, timeout_s=60)
        self.greet(user=user, password=password)

    def ask(self, statement: str) -> tuple[float, int]:
        """Seconds until the answer has ended, and its bytes."""
        started_s = time.perf_counter()
        self.send(query(statement), EMPTY_DATA)
        size_bytes = len(self.answer())
        return time.perf_counter() - started_s, size_bytes


def main() -> None:
    """Print p50 and p95 of a small query, MB/s of a large answer, and the gate's own CPU."""
    http_port, native_port = free_ports(2)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "store"
        with EmbeddedStore(root, StoreSettings(http_port=http_port, native_port=native_port)) as store:
            backend = Backend.read(StoreFolder(root).backend)
            assert backend is not None
            assert backend.native_port is not None
            assert store.gate_pid is not None
            doors = {"engine": Door(backend.native_port, READER, backend.passwords[READER]), "gate": Door(native_port)}
            times: dict[str, list[float]] = {name: [] for name in doors}
            for _ in range(SMALL_QUERIES):
                for name, door in doors.items():
                    times[name].append(door.ask("SELECT 1")[0])
            for name, each in times.items():
                cuts = statistics.quantiles(each, n=100)
                print(f"{name:7} small query   p50 {cuts[49] * 1e3:6.2f} ms   p95 {cuts[94] * 1e3:6.2f} ms")
            rates: dict[str, list[float]] = {name: [] for name in doors}
            used_s, moved_bytes = cpu_s(store.gate_pid), 0
            for _ in range(LARGE_QUERIES):
                for name, door in doors.items():
                    seconds, size_bytes = door.ask(LARGE)
                    rates[name].append(size_bytes / seconds / 1e6)
                    moved_bytes += size_bytes if name == "gate" else 0
            used_s = cpu_s(store.gate_pid) - used_s
            for name, each in rates.items():
                print(f"{name:7} large answer  {statistics.median(each):6.0f} MB/s")
            print(f"gate    CPU {used_s / moved_bytes * 1e9:.2f} s a GB")
            for door in doors.values():
                door.close()


if __name__ == "__main__":
    main()
