"""How the reading side opens the embedded log, and what it makes of a row."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.log import Record
from schemas.sqlite_bodies import unpacked
from schemas.sqlite_log import Link, decode_headers

PARTITION = 0
# Longer than the longest write transaction of a healthy neighbour: a redrive or a group of large appends.
BUSY_TIMEOUT_S = 5.0


def open_link(path: Path) -> Link:
    """A link to the log at `path` that never creates the file: only its writer does."""
    real_path = os.path.realpath(path)
    uri = f"{Path(real_path).as_uri()}?mode=rw"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)

    return Link(real_path, connect)


def record_columns(described: str) -> str:
    """What `record_of` takes, of `described`, a table of records or dead letters, and their bodies `b`."""
    return (
        f"{described}.offset, b.value, b.unpacked_bytes, {described}.tenant, {described}.received_at_ns,"
        f" {described}.items, {described}.rejected, {described}.headers"
    )


def record_of(topic: str, row: Sequence[Any], partition: int = PARTITION) -> Record:
    """The record of a row of `record_columns`.

    Raises:
        LogUnavailableError: the body is damaged.
    """
    offset, kept, unpacked_bytes, tenant, received_at_ns, items, rejected, headers = row
    value = unpacked(kept, unpacked_bytes)
    return Record(topic, partition, offset, value, tenant, received_at_ns, items, rejected, decode_headers(headers))
