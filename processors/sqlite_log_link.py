"""How the reading side opens the embedded log."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from schemas.sqlite_log import Link

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
