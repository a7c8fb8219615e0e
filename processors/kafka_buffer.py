"""What a reader of Kafka has at hand: the records of each partition that were fetched and are not yet committed.

They stay until they are committed, so that a batch which failed is built again without asking the brokers.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field

from schemas.log import Record


@dataclass(slots=True)
class PartitionBuffer:
    """Records of one partition from offset `start` on, without a gap: what is not here and below `end` does not exist.

    Attributes:
        start: everything from here to `end` was fetched.
        end: the next offset to fetch.
    """

    start: int
    end: int
    size_bytes: int = 0
    _records: list[Record] = field(default_factory=list)

    def add(self, records: Sequence[Record]) -> None:
        """Append what was fetched at `end`."""
        self._records += records
        self.size_bytes += sum(len(record.value) for record in records)
        if records:
            self.end = records[-1].offset + 1

    def covers(self, first: int) -> bool:
        """Whether reading from `first` can go on from here."""
        return self.start <= first <= self.end

    def read(self, first: int, last: int | None, max_records: int, max_bytes: int) -> list[Record]:
        """As `LogReader.read`, of what is at hand."""
        begin = bisect_left(self._records, first, key=_offset)
        found: list[Record] = []
        left_bytes = max_bytes
        for record in self._records[begin : begin + max(1, max_records)]:
            left_bytes -= len(record.value)
            if (found and left_bytes < 0) or (last is not None and record.offset > last):
                break
            found.append(record)
        return found

    def drop_before(self, offset: int) -> None:
        """Forget what is committed."""
        keep = bisect_left(self._records, offset, key=_offset)
        self.size_bytes -= sum(len(record.value) for record in self._records[:keep])
        del self._records[:keep]
        self.start = max(self.start, min(offset, self.end))


def _offset(record: Record) -> int:
    return record.offset
