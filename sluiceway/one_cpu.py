"""The threads that hold Python's lock in turns, gathered on one CPU.

Handed to a thread on another CPU, the lock costs an interrupt, a wake-up and cold caches, some thirty times for each
request. On one CPU half of these switches do not happen: receiving takes a quarter less CPU for large requests and a
third less for small ones (docs/decisions/0010). Consumers, who compute without the lock, are there too until one CPU is
not enough. Threads that start other programs, which inherit the CPUs of the thread that started them, run anywhere.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_log = logging.getLogger(__name__)
_STARTS_PROGRAMS = ("MainThread", "store-supervisor", "preparation", "ingest-warm-up")
_COMPUTES = "consumer-"
# Shares of a CPU. Less than this of others' work beside ours is no reason to move.
_MARGIN = 0.25
# Consumers leave a CPU that we fill, when another is half idle; they come back when all of us fit on one.
_FULL, _HALF_IDLE, _FITS = 0.85, 0.5, 0.6


@dataclass(frozen=True, slots=True)
class _Reading:
    """Seconds since some beginning: now, that each CPU was busy, that each thread of ours ran."""

    at_s: float
    busy_s: Mapping[int, float]
    ran_s: Mapping[int, float]


class OneCpu:
    """Gathers the threads of this process. `look` is called every few seconds, by one thread.

    Does nothing where the system has no affinity of threads (it is Linux's), or the process may use one CPU only.

    Attributes:
        cpu: where the threads are gathered; None before the first look, and where nothing is done.
        consumers_apart: whether the consumers run anywhere.
    """

    def __init__(
        self,
        *,
        proc: Path = Path("/proc"),
        chance: Callable[[], float] = random.random,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.cpu: int | None = None
        self.consumers_apart = False
        self._proc = proc
        self._chance = chance
        self._clock = clock
        # What the operator, or the container, leaves to us; asked before anything is gathered.
        self._allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
        self._gathered: set[int] = set()
        self._last: _Reading | None = None

    def look(self) -> None:
        """Gather the threads that are new, and decide anew where all of them are best."""
        if len(self._allowed) < 2:
            return
        try:
            threads = {int(task.name) for task in (self._proc / "self/task").iterdir()}
            reading = _Reading(
                self._clock(),
                _busy_s(self._proc, self._allowed),
                {
                    tid: ran
                    for tid in threads - _named(_STARTS_PROGRAMS)
                    if (ran := _ran_s(self._proc, tid)) is not None
                },
            )
            cpu, apart = self._decide(reading)
            moved = (cpu, apart) != (self.cpu, self.consumers_apart)
            self.cpu, self.consumers_apart = cpu, apart
            self._place(cpu, threads, everything=moved)
        except (OSError, ValueError, IndexError) as error:
            # /proc is hidden, or the CPUs that we may use were changed under us: threads stay where they are.
            _log.warning("ingest.one_cpu: threads are no longer gathered: %s", error)
            self._allowed = []
            self.cpu = None
            return
        self._last = reading

    def _decide(self, now: _Reading) -> tuple[int, bool]:
        """Which CPU, and whether the consumers run anywhere."""
        last = self._last
        if self.cpu is None or last is None:
            # By chance: several processes that start together should not meet.
            return self._allowed[int(self._chance() * len(self._allowed))], False
        span_s = max(now.at_s - last.at_s, 0.001)
        ran = {tid: (ran_s - last.ran_s.get(tid, 0.0)) / span_s for tid, ran_s in now.ran_s.items()}
        here = sum(share for tid, share in ran.items() if tid in self._gathered)
        others = {cpu: (now.busy_s[cpu] - last.busy_s[cpu]) / span_s for cpu in self._allowed}
        others[self.cpu] -= here
        best = least_busy(others, self.cpu)
        if best != self.cpu:
            # Two processes that met see the same; by chance one of them stays.
            return best if self._chance() < 0.5 else self.cpu, self.consumers_apart
        if self.consumers_apart:
            return self.cpu, sum(ran.values()) > _FITS
        elsewhere = min(share for cpu, share in others.items() if cpu != self.cpu)
        return self.cpu, here > _FULL and elsewhere < _HALF_IDLE

    def _place(self, cpu: int, threads: set[int], *, everything: bool) -> None:
        anywhere = _named(_STARTS_PROGRAMS + ((_COMPUTES,) if self.consumers_apart else ()))
        for tid in threads if everything else threads - self._gathered:
            # A thread inherits the CPUs of the one that started it, so those that run anywhere are told, too.
            with suppress(ProcessLookupError):
                os.sched_setaffinity(tid, self._allowed if tid in anywhere else (cpu,))
        self._gathered = threads - anywhere


def least_busy(others: Mapping[int, float], current: int) -> int:
    """The CPU with the least work of others, in shares of it; `current` unless another has clearly less."""
    best = min(others, key=lambda cpu: others[cpu])
    return best if others[current] - others[best] > _MARGIN else current


def _named(prefixes: tuple[str, ...]) -> set[int]:
    return {thread.native_id or 0 for thread in threading.enumerate() if thread.name.startswith(prefixes)}


def _busy_s(proc: Path, cpus: Collection[int]) -> dict[int, float]:
    busy_s = {}
    ticks_per_s = os.sysconf("SC_CLK_TCK")
    for line in (proc / "stat").read_text().splitlines():
        # cpuN user nice system idle iowait irq softirq steal (proc(5))
        name, *ticks = line.split()
        if name[:3] == "cpu" and name[3:].isdecimal() and int(name[3:]) in cpus:
            busy_s[int(name[3:])] = (sum(map(int, ticks[:8])) - int(ticks[3]) - int(ticks[4])) / ticks_per_s
    if len(busy_s) < len(cpus):
        raise OSError(f"{proc / 'stat'} does not show CPUs {sorted(set(cpus) - busy_s.keys())}")
    return busy_s


def _ran_s(proc: Path, tid: int) -> float | None:
    try:
        return int((proc / "self/task" / str(tid) / "schedstat").read_text().split()[0]) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        return None  # It ended.
