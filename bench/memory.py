"""`python -m bench.memory [--soak S]`: resident memory of the pipeline and its store at full load for S seconds.

Prints one JSON object: the largest sum of both, the largest of each for every tenth of the time. Exit code 1 when the
last third is over the middle one by more than a twentieth; in the first, caches and working memory fill.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import end_to_end, spans
from bench.receive import send_file
from bench.usage import Meter

PARTS = 10
FLAT_SHARE = 1.05
_REQUESTS = 1000
# At full load the log would otherwise grow to its bound of 20 GiB within minutes.
_SETTINGS = {"SLUICEWAY_LOG__MAX_BYTES": str(1 << 30)}


@dataclass(frozen=True, slots=True)
class Sample:
    """Resident bytes at one moment, seconds after the start."""

    at_s: float
    pipeline: int
    store: int

    @property
    def both(self) -> int:
        """Their sum."""
        return self.pipeline + self.store


def soak(folder: Path, soak_s: float) -> list[Sample]:
    """Load a fresh pipeline for `soak_s` seconds."""
    dataset = spans.make(folder / "spans", _REQUESTS, seed=9, first_start_ns=time.time_ns() - spans.SPREAD_NS)
    (folder / "pipeline").mkdir()
    with end_to_end.pipeline(folder / "pipeline", _SETTINGS) as running:
        send_file(running.address, dataset.warm_up)
        meter = Meter(running.pid, interval_s=0.5)
        started_s = time.monotonic()
        sent = send_file(running.address, dataset.path, loop_s=soak_s)
        meter.close()
        print(
            f"{sent['requests'] * dataset.spans_a_request / sent['elapsed_s']:,.0f} spans/s acknowledged",
            file=sys.stderr,
        )
    return [
        Sample(at_s - started_s, sizes[running.pid], sum(sizes.values()) - sizes[running.pid])
        for at_s, sizes in meter.resident_bytes
    ]


def parts(samples: Sequence[Sample], count: int) -> list[Sequence[Sample]]:
    """The samples in `count` runs of about equal length."""
    return [samples[len(samples) * part // count : len(samples) * (part + 1) // count] for part in range(count)]


def is_flat(samples: Sequence[Sample]) -> bool:
    """Whether the last third holds no more than the middle one, but for a twentieth."""
    _, middle, last = (max(sample.both for sample in part) for part in parts(samples, 3))
    return last <= FLAT_SHARE * middle


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak", type=float, default=60.0, metavar="S")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-memory-") as name:
        samples = soak(Path(name), options.soak)
    flat = is_flat(samples)
    tenths = parts(samples, PARTS)
    print(
        json.dumps(
            {
                "resident_bytes_max": max(sample.both for sample in samples),
                "pipeline_bytes_by_tenth": [max(sample.pipeline for sample in tenth) for tenth in tenths],
                "store_bytes_by_tenth": [max(sample.store for sample in tenth) for tenth in tenths],
                "flat": flat,
            }
        )
    )
    return 0 if flat else 1


if __name__ == "__main__":
    sys.exit(main())
