"""What is read, not counted: how far the log is behind, what it holds, and what our processes use."""

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from dashboards.viewer.health import HealthFigures
from schemas.errors import LogUnavailableError
from schemas.log import LogSnapshot
from schemas.signals import NAMES, Signal, signal_of
from schemas.telemetry import observe

Observed = Iterable[tuple[float, dict[str, str]]]
_PROC = Path("/proc")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_TOPICS = frozenset(names.topic for names in NAMES.values())


class Standing(Protocol):
    """Where the log stands: an inspector, or the cheaper part of one."""

    def snapshot(self) -> LogSnapshot:
        """As `LogInspector.snapshot`."""

    def size_bytes(self) -> int:
        """As `LogInspector.size_bytes`."""

    def close(self) -> None:
        """Release the log."""


class LogFigures:
    """The log side of the pipeline for the viewer and for our own metrics. Safe from any thread.

    One reading serves everybody for `max_age_s`, so that pages and scrapes cannot put load on the log.
    """

    def __init__(
        self,
        inspector: Standing,
        log_max_bytes: int | None,
        *,
        max_age_s: float = 1.0,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._inspector, self._log_max_bytes = inspector, log_max_bytes
        self._max_age_s, self._clock_ns = max_age_s, clock_ns
        self._lock = threading.Lock()
        self._read_at = 0.0
        self._figures: HealthFigures | None = None

    def figures(self) -> HealthFigures:
        """The figures of now, or of at most `max_age_s` ago.

        Raises:
            LogUnavailableError: the log cannot be read now.
        """
        with self._lock:
            if self._figures is None or time.monotonic() - self._read_at > self._max_age_s:
                snapshot = self._inspector.snapshot()
                oldest_ns = min(snapshot.oldest_in_flight_ns.values(), default=None)
                lag_s = 0.0 if oldest_ns is None else self._age_s(oldest_ns)
                self._figures = HealthFigures(snapshot, self._inspector.size_bytes(), self._log_max_bytes, lag_s)
                self._read_at = time.monotonic()
            return self._figures

    def close(self) -> None:
        """Release the log."""
        self._inspector.close()

    def _age_s(self, received_at_ns: int) -> float:
        # The wall clock may have stepped back since: an age below zero would say that the future is waiting.
        return max(0, self._clock_ns() - received_at_ns) / 1e9

    def size(self) -> Observed:
        """Bytes on disk."""
        return [(self.figures().log_size_bytes, {})]

    def lag_records(self) -> Observed:
        """Records not yet stored, by signal."""
        return _by_signal(self.figures().log.in_flight_records)

    def lag_items(self) -> Observed:
        """Items not yet stored, by signal; none where the log counts only records."""
        if self._log_max_bytes is None:
            return []
        return _by_signal(self.figures().log.in_flight_items)

    def lag_seconds(self) -> Observed:
        """Age of the oldest record not yet stored, by signal."""
        oldest = self.figures().log.oldest_in_flight_ns
        ages = dict.fromkeys(Signal, 0.0)
        for (topic, _, _), received_at_ns in oldest.items():
            if topic in _TOPICS:
                signal = signal_of(topic)
                ages[signal] = max(ages[signal], self._age_s(received_at_ns))
        return [(age, {"signal": signal}) for signal, age in ages.items()]

    def dead_letters(self) -> Observed:
        """Dead letters that wait, by signal."""
        waiting = self.figures().log.dead_letters
        return _by_signal({(topic, 0, tenant): letters for (topic, tenant), letters in waiting.items()})


def _by_signal(counts: Mapping[tuple[str, int, str], int]) -> Observed:
    total: Counter[Signal] = Counter()
    for (topic, _, _), count in counts.items():
        if topic in _TOPICS:
            total[signal_of(topic)] += count
    # A signal that is not behind says 0: a gap would read as "not known", and the number of series must not change.
    return [(total[signal], {"signal": signal}) for signal in Signal]


def resident_bytes(pid: int) -> int | None:
    """Resident memory of a process; None when it is gone or the system has no /proc."""
    try:
        return int((_PROC / str(pid) / "statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def cpu_seconds(pid: int) -> float | None:
    """User and system time of a process; None when it is gone or the system has no /proc."""
    try:
        # The command's name is in parentheses and may hold spaces: fields are counted from behind it.
        fields = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S
    except (OSError, ValueError, IndexError):
        return None


_reading: dict[str, Callable[[], Observed]] = {}


def observe_pipeline(
    figures: LogFigures | None, pids: Mapping[str, Callable[[], int | None]], restarts: Callable[[], int] | None
) -> Callable[[], None]:
    """Let this process's metrics read one pipeline; returns what ends that.

    Args:
        figures: of its log; None where another process says them.
        pids: process ids by component (`pipeline`, `store`); None while there is no such process.
        restarts: how often the store was started again; None when the store is not ours to start.
    """

    def of_processes(read: Callable[[int], float | None]) -> Callable[[], Observed]:
        def observed() -> Iterator[tuple[float, dict[str, str]]]:
            for component, pid_of in pids.items():
                pid = pid_of()
                value = None if pid is None else read(pid)
                if value is not None:
                    yield value, {"component": component}

        return observed

    mine: dict[str, Callable[[], Observed]] = {}
    if figures is not None:
        mine |= {
            "sluiceway_log_size_bytes": figures.size,
            "sluiceway_log_lag_records": figures.lag_records,
            "sluiceway_log_lag_items": figures.lag_items,
            "sluiceway_log_lag_seconds": figures.lag_seconds,
            "sluiceway_log_dead_letters": figures.dead_letters,
        }
    mine |= {
        "sluiceway_runtime_resident_bytes": of_processes(resident_bytes),
        "sluiceway_runtime_cpu_seconds_total": of_processes(cpu_seconds),
    }
    if restarts is not None:
        mine["sluiceway_store_restarts_total"] = lambda: [(restarts(), {})]
    _reading.update(mine)

    def end() -> None:
        for name, read in mine.items():
            if _reading.get(name) is read:
                del _reading[name]

    return end


def _read(name: str) -> Observed:
    try:
        return list(_reading[name]()) if name in _reading else []
    except LogUnavailableError:
        return []


def _observe_all() -> None:
    for name in (
        "sluiceway_log_size_bytes",
        "sluiceway_log_lag_records",
        "sluiceway_log_lag_items",
        "sluiceway_log_lag_seconds",
        "sluiceway_log_dead_letters",
        "sluiceway_runtime_resident_bytes",
        "sluiceway_runtime_cpu_seconds_total",
        "sluiceway_store_restarts_total",
    ):
        observe(name, lambda name=name: _read(name))  # type: ignore[misc]


# Once a process: a second instrument of the same name is refused by the SDK with a warning.
_observe_all()
