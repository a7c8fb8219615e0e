"""CPU seconds and resident bytes of processes and everything below them, as Linux counts them."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    # The command name, in parentheses, may hold spaces.
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()


def children(pid: int) -> list[int]:
    """The living descendants of `pid`."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int(_stat(int(entry.name))[1]), []).append(int(entry.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def cpu_s(pid: int) -> float:
    """User and system seconds of one process, its reaped children included."""
    fields = _stat(pid)
    return sum(int(field) for field in fields[11:15]) / _TICKS_A_SECOND


def resident_bytes(pid: int) -> int:
    """Resident memory of one process; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:")), 0)


class Meter:
    """Watches a process and its descendants: CPU since `start`, and the largest sum of their resident memory."""

    def __init__(self, pid: int, *, interval_s: float = 0.2) -> None:
        self.pid = pid
        self._interval_s = interval_s
        self._first = {each: cpu_s(each) for each in self._tree()}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="bench-meter", daemon=True)
        self.resident_bytes: list[tuple[float, dict[int, int]]] = []
        self._thread.start()

    def _tree(self) -> list[int]:
        return [self.pid, *children(self.pid)]

    def used_s(self) -> dict[int, float]:
        """CPU seconds of each living process since the meter was made."""
        return {each: cpu_s(each) - self._first.get(each, 0.0) for each in self._tree()}

    def total_s(self) -> float:
        """CPU seconds of all of them together."""
        return sum(self.used_s().values())

    def _sample(self) -> None:
        while not self._stop.wait(self._interval_s):
            self.resident_bytes.append((time.monotonic(), {each: resident_bytes(each) for each in self._tree()}))

    def close(self) -> int:
        """Stop sampling; the largest resident sum seen, bytes."""
        self._stop.set()
        self._thread.join()
        return max((sum(sizes.values()) for _, sizes in self.resident_bytes), default=0)
