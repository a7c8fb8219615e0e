"""Which records make a batch: the open batch of one partition, and when it is closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from processors.settings import BatchSettings
from schemas.log import Record

# Records of a few hundred bytes each: a batch of them is bounded by what its dead letters and offsets cost.
MAX_RECORDS = 50_000
# Longer than the pauses between two fetches or commits of a stream under load.
_PAUSE_S = 0.3


@dataclass(slots=True)
class OpenBatch:
    """Records of one partition in order, from `position` on; nothing of it is frozen yet."""

    position: int
    limits: BatchSettings
    clock: Callable[[], float] = time.monotonic
    records: list[Record] = field(default_factory=list)
    rows: int = 0
    size_bytes: int = 0
    opened_at_s: float = 0.0
    _taken_at_s: float = 0.0

    @property
    def is_full(self) -> bool:
        """Whether one of the bounds on rows, bytes or records is reached."""
        return (
            self.rows >= self.limits.max_rows
            or self.size_bytes >= self.limits.max_bytes
            or len(self.records) >= MAX_RECORDS
        )

    @property
    def left_s(self) -> float:
        """How long the batch may stay open, seconds; the whole age when it is empty."""
        limits = self.limits
        if not self.records:
            return limits.max_age_s
        until_s = self.opened_at_s + limits.max_age_s
        if self.rows >= limits.busy_rows:
            # Only while more keeps coming: when a stream pauses, what came is shown at once.
            until_s = max(until_s, min(self.opened_at_s + limits.busy_max_age_s, self._taken_at_s + _PAUSE_S))
        return max(0.0, until_s - self.clock())

    def take(self, found: Sequence[Record]) -> None:
        """Add records up to the bounds. What is beyond them is left: `position` says from where to read on."""
        if found:
            self._taken_at_s = self.clock()
            if not self.records:
                self.opened_at_s = self._taken_at_s
        for record in found:
            if self.is_full:
                return
            self.records.append(record)
            self.rows += record.items or 0
            self.size_bytes += len(record.value)
            self.position = record.offset + 1
