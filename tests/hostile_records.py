"""Records of 4 MiB whose few bytes each ask for much memory; run as a program it says how much each took.

`python -m tests.hostile_records COUNT` decodes and encodes COUNT such records as the writer would, a process for each
case, and prints a JSON object: by case, how many megabytes the process grew and how many records made the batch.
"""

from __future__ import annotations

import json
import os
import resource
import sys

from processors import blocks, warm_up, write
from processors.settings import BatchSettings
from schemas.columns import BY_NAME
from schemas.log import Record
from schemas.signals import Signal
from tests.otlp_validation import field

SIZE_BYTES = 4 * 1024 * 1024 - 64


def many(unit: bytes) -> bytes:
    return unit * (SIZE_BYTES // len(unit))


def items(content: bytes) -> bytes:
    return field(1, field(2, content))


def distinct(number: int) -> bytes:
    return b"".join(field(number, field(1, b"%07x" % at)) for at in range(SIZE_BYTES // 12))


def cases() -> dict[str, tuple[Signal, bytes]]:
    """By name, a signal and a record."""
    traces, logs, metrics = Signal.TRACES, Signal.LOGS, Signal.METRICS
    return {
        "empty resources": (traces, many(b"\x0a\x00")),
        "empty scopes": (traces, field(1, many(b"\x12\x00"))),
        "empty resource attributes": (traces, field(1, field(1, many(b"\x0a\x00")) + field(2, field(2, b"")))),
        "empty spans": (traces, items(many(b"\x12\x00"))),
        "empty attributes": (traces, items(field(2, many(b"\x4a\x00")))),
        "empty events": (traces, items(field(2, many(b"\x5a\x00")))),
        "empty links": (traces, items(field(2, many(b"\x6a\x00")))),
        "distinct keys": (traces, items(field(2, distinct(9)))),
        "map entries": (logs, items(field(2, field(5, field(6, many(b"\x0a\x00")))))),
        "control characters": (logs, items(field(2, field(5, field(5, field(1, field(1, many(b"\x01")))))))),
        "empty metrics": (metrics, items(many(b"\x12\x00"))),
        "empty points": (metrics, items(field(2, field(5, many(b"\x0a\x00"))))),
        "empty exemplars": (metrics, items(field(2, field(5, field(1, many(b"\x2a\x00")))))),
    }


def measure(signal: Signal, value: bytes, count: int) -> tuple[int, int]:
    """Megabytes that the process grew, and records that were decoded together."""
    records = [Record("topic", 0, offset, value, "", 1, None) for offset in range(count)]
    writer = write.BatchWriter(signal, None, None, BatchSettings())  # type: ignore[arg-type]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    kept, decoded = writer._decode_what_fits(records)
    assert not decoded.faults
    for name, batch in decoded.tables.items():
        for first, end in blocks.block_ranges(name, batch):
            writer._encode(batch.slice(first, end - first), BY_NAME[name])
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, len(kept)


def main() -> None:
    """See the module."""
    for _ in warm_up.stages():
        pass
    found = {}
    for name, (signal, value) in cases().items():
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.write(writing, json.dumps(measure(signal, value, int(sys.argv[1]))).encode())
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as answer:
            found[name] = json.loads(answer.read() or "null")
        os.waitpid(child, 0)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
