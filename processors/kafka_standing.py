"""How far readers are behind on Kafka, without reading a record: offsets only, and when they were seen."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping

from processors.kafka_log_inspect import KafkaLogInspector
from schemas.log import LogSnapshot

_Key = tuple[str, int]
# Ends of a partition as seen over time; older ones say nothing once everything before them is stored.
_SAMPLES = 3600


class KafkaStanding:
    """The cheap part of `LogInspector.snapshot`, for metrics and pages that look every second.

    Records in flight are counted by offset and belong to no tenant; items are not counted (`sluiceway audit` does). The
    age of the oldest one is how long ago the log was first seen to reach past what is stored, to within the pause
    between two looks.
    """

    def __init__(self, inspector: KafkaLogInspector, *, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._inspector = inspector
        self._clock_ns = clock_ns
        self._ends: dict[_Key, deque[tuple[int, int]]] = {}

    def snapshot(self, since: Mapping[_Key, int] | None = None) -> LogSnapshot:  # noqa: ARG002
        """Progress, records in flight, their age, and dead letters that wait.

        Raises:
            LogUnavailableError: brokers do not answer.
        """
        now_ns = self._clock_ns()
        progress, ends = self._inspector.positions()
        records: Counter[tuple[str, int, str]] = Counter()
        oldest_ns: dict[tuple[str, int, str], int] = {}
        for key, end in ends.items():
            stored = progress[key].next_offset
            seen = self._ends.setdefault(key, deque(maxlen=_SAMPLES))
            if not seen or seen[-1][0] != end:
                seen.append((end, now_ns))
            while len(seen) > 1 and seen[0][0] <= stored:
                seen.popleft()
            if end > stored:
                records[*key, ""] = end - stored
                oldest_ns[*key, ""] = seen[0][1]
        return LogSnapshot([], progress, {}, self._inspector.waiting_letters(), records, oldest_ns)

    def size_bytes(self) -> int:
        """As `LogInspector.size_bytes`."""
        return self._inspector.size_bytes()

    def close(self) -> None:
        """Release the connections."""
        self._inspector.close()
