"""What an append to the embedded log costs by page size and record size: `python -m bench.log_layout [FOLDER]`.

CPU is user and system time of this process, checkpoints included, best of two; the folder's disk decides the rest.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import time
from pathlib import Path

from ingest.sqlite_log import SqliteLogWriter
from schemas import sqlite_log
from schemas.log import Entry
from schemas.settings import LogSettings

PAGES = (4096, 16384, 32768, 65536)
# Record size in bytes, records an append, appends.
LOADS = (
    (4_000, 1, 800),
    (4_000, 16, 400),
    (186_000, 1, 400),
    (186_000, 8, 120),
    (1_000_000, 4, 50),
    (4_000_000, 1, 60),
)
ROUNDS = 2
SPAN_BYTES = 363


def cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(folder: Path, size_bytes: int, group: int, appends: int) -> tuple[float, float, float]:
    """CPU us a record, MB/s, and the 99th percentile of an append in ms."""
    base = os.urandom(size_bytes)
    values = [base[shift:] + base[:shift] for shift in range(16)]
    writer = SqliteLogWriter(folder / "log.sqlite", LogSettings())
    latencies_s = []
    before_s, started_s = cpu_s(), time.perf_counter()
    for number in range(appends):
        append_s = time.perf_counter()
        writer.append([Entry("otlp_spans", values[(number + n) % 16], items=512) for n in range(group)])
        latencies_s.append(time.perf_counter() - append_s)
    wall_s = time.perf_counter() - started_s
    writer.close()
    records = appends * group
    return (
        (cpu_s() - before_s) / records * 1e6,
        records * size_bytes / wall_s / 1e6,
        sorted(latencies_s)[-(appends // 100) - 1] * 1e3,
    )


def main(parent: Path | None = None) -> None:
    best: dict[tuple[int, int, int], tuple[float, float, float]] = {}
    for _ in range(ROUNDS):
        for page_bytes in PAGES:
            sqlite_log.PAGE_BYTES = page_bytes
            sqlite_log._LAYOUT = (f"PRAGMA page_size = {page_bytes}", sqlite_log._LAYOUT[1])
            for size_bytes, group, appends in LOADS:
                with tempfile.TemporaryDirectory(dir=parent) as folder:
                    key = (size_bytes, group, page_bytes)
                    best[key] = min(best.get(key, (1e9, 0.0, 0.0)), measure(Path(folder), size_bytes, group, appends))
    print("| record | records an append |", " | ".join(f"{page // 1024} KiB" for page in PAGES), "|")
    for size_bytes, group, _ in LOADS:
        cells = [f"{best[size_bytes, group, page][0]:.0f}" for page in PAGES]
        print(f"| {size_bytes // 1000} KB | {group} |", " | ".join(cells), "|")
    print()
    for size_bytes, group, _ in LOADS:
        cpu_us, rate, p99_ms = best[size_bytes, group, 65536]
        print(
            f"64 KiB pages, {size_bytes} bytes x {group}: {cpu_us * SPAN_BYTES / size_bytes:.2f} us a span,"
            f" {rate:.0f} MB/s, p99 {p99_ms:.1f} ms an append"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else None)
