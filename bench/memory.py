"""`python -m bench.memory [--soak S]`: resident memory of the pipeline and its store at full load for S seconds.

Prints one JSON object: the largest sum of both, and the largest of each tenth of the time, to see whether it is flat.
Exit code 1 when the last tenth is more than a tenth above the second one (in the first, caches fill).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

from bench import end_to_end, spans
from bench.receive import send_file
from bench.usage import Meter

PARTS = 10
FLAT_SHARE = 1.10
_REQUESTS = 1000
# At full load the log would otherwise grow to its bound of 20 GiB within minutes.
_SETTINGS = {"SLUICEWAY_LOG__MAX_BYTES": str(1 << 30)}


def soak(folder: Path, soak_s: float) -> list[int]:
    """Load a fresh pipeline for `soak_s` seconds; the largest resident sum of each tenth of it, bytes."""
    dataset = spans.make(folder / "spans", _REQUESTS, seed=9, first_start_ns=time.time_ns() - spans.SPREAD_NS)
    (folder / "pipeline").mkdir()
    with end_to_end.pipeline(folder / "pipeline", _SETTINGS) as running:
        send_file(running.address, dataset.warm_up)
        meter = Meter(running.pid, interval_s=0.5)
        started_s = time.monotonic()
        send_file(running.address, dataset.path, loop_s=soak_s)
        ended_s = time.monotonic()
        meter.close()
    part_s = (ended_s - started_s) / PARTS
    largest = [0] * PARTS
    for at_s, size in meter.resident_bytes:
        part = min(int((at_s - started_s) / part_s), PARTS - 1)
        largest[part] = max(largest[part], size)
    return largest


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak", type=float, default=60.0, metavar="S")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        largest = soak(Path(name), options.soak)
    flat = largest[-1] <= FLAT_SHARE * largest[1]
    print(json.dumps({"resident_bytes_max": max(largest), "resident_bytes_by_tenth": largest, "flat": flat}))
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
