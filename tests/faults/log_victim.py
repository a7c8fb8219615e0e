"""A pipeline in small, to be killed: appends numbered records, freezes and commits ranges, and reports both as it goes.

Usage: log_victim.py LOG REPORTS FIRST_NUMBER. Reports are lines, each written by one system call after the fact:
`acked LAST_NUMBER` when an append returned, `inserted FIRST LAST DIGEST` between a freeze and its commit.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from pathlib import Path

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from schemas.log import Entry, LogReader
from schemas.settings import LogSettings

TOPIC = "otlp_spans"


def value(number: int) -> bytes:
    """Bytes that tell their number and length: from 40 bytes to over a megabyte."""
    size_bytes = (40, 4_000, 186_000, 1_300_000)[number % 4]
    return hashlib.sha256(str(number).encode()).digest() + number.to_bytes(8, "big") * (size_bytes // 8)


def consume(reader: LogReader, reports: int) -> None:
    while True:
        progress = reader.progress(0)
        last = progress.frozen.last if progress.frozen else None
        records = reader.read(0, progress.next_offset, last=last, max_records=1000 if last is not None else 7,
                              max_bytes=1 << 30)  # fmt: skip
        if not records:
            reader.wait(1.0)
            continue
        reader.freeze(0, records[-1].offset)
        digest = hashlib.sha256(b"".join(record.value for record in records)).hexdigest()
        os.write(reports, f"inserted {progress.next_offset} {records[-1].offset} {digest}\n".encode())
        reader.commit(0)


def main(log: Path, report_file: Path, number: int) -> None:
    reports = os.open(report_file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    writer = SqliteLogWriter(log, LogSettings())
    threading.Thread(target=consume, args=(SqliteLogReader(log, TOPIC), reports), daemon=True).start()
    while True:
        writer.append([Entry(TOPIC, value(n), items=1) for n in range(number, number + 5)])
        number += 5
        os.write(reports, f"acked {number - 1}\n".encode())


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
