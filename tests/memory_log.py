"""A LogWriter for unit tests of what stands before the log; tests of durability use the real one."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from schemas.log import Entry


class MemoryLog:
    """Keeps appended entries; `failure` makes every append fail, `gate` holds appends until it is set."""

    def __init__(self, *, max_record_bytes: int = 4 * 1024 * 1024) -> None:
        self._max_record_bytes = max_record_bytes
        self.independent = False
        self.joined_below_bytes = 1 << 30
        self.commits: list[list[Entry]] = []
        self.failure: Exception | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    @property
    def entries(self) -> list[Entry]:
        """All entries in order."""
        return [entry for commit in self.commits for entry in commit]

    def append(self, entries: Sequence[Entry]) -> None:
        """As `LogWriter.append`, without a disk."""
        self.entered.set()
        self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.commits.append(list(entries))

    def max_record_bytes(self) -> int:
        """As `LogWriter.max_record_bytes`."""
        return self._max_record_bytes

    def joins_below_bytes(self) -> int:
        """As `LogWriter.joins_below_bytes`."""
        return self.joined_below_bytes

    def independent_topics(self) -> bool:
        """As `LogWriter.independent_topics`."""
        return self.independent

    def close(self) -> None:
        """Nothing is held."""
