"""Threads that hold Python's lock in turns are gathered on one CPU, which is left to others where they need it."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sluiceway.one_cpu import OneCpu, least_busy

CPUS = os.sched_getaffinity(0)
several = pytest.mark.skipif(len(CPUS) < 2, reason="needs two CPUs: with one there is nothing to choose")


@contextmanager
def threads(*names: str) -> Iterator[dict[str, int]]:
    """Threads of these names that wait; the system's number of each."""
    end = threading.Event()
    started = [threading.Thread(target=end.wait, name=name, daemon=True) for name in names]
    for thread in started:
        thread.start()
    try:
        yield {thread.name: thread.native_id or 0 for thread in started}
    finally:
        end.set()
        for thread in started:
            thread.join()


@pytest.fixture(autouse=True)
def _anywhere_again() -> Iterator[None]:
    """The other threads of the test run are gathered, too."""
    yield
    for task in Path("/proc/self/task").iterdir():
        os.sched_setaffinity(int(task.name), CPUS)


@several
def test_threads_are_gathered_but_those_that_start_programs() -> None:
    gathering = OneCpu()
    with threads("ingest-append-traces", "consumer-traces", "store-supervisor") as ids:
        gathering.look()

        assert gathering.cpu in CPUS
        assert os.sched_getaffinity(ids["ingest-append-traces"]) == {gathering.cpu}
        assert os.sched_getaffinity(ids["consumer-traces"]) == {gathering.cpu}
        assert os.sched_getaffinity(ids["store-supervisor"]) == CPUS
        assert os.sched_getaffinity(0) == CPUS


@several
def test_a_thread_that_comes_later_is_gathered_at_the_next_look() -> None:
    gathering = OneCpu()
    gathering.look()
    with threads("ingest-grpc_0") as ids:
        assert os.sched_getaffinity(ids["ingest-grpc_0"]) == CPUS
        gathering.look()
        assert os.sched_getaffinity(ids["ingest-grpc_0"]) == {gathering.cpu}


class Machine:
    """A /proc that says how long CPUs were busy and threads ran, and a clock; threads and where they run are real."""

    def __init__(self, proc: Path, threads: dict[str, int]) -> None:
        self.proc = proc
        self.now_s = 0.0
        self._threads = threads
        self._ran_s = dict.fromkeys(threads, 0.0)
        self._busy_s = dict.fromkeys(CPUS, 0.0)
        self.gathering = OneCpu(proc=proc, chance=lambda: self.chance, clock=lambda: self.now_s)
        self.chance = 0.0
        self.look()

    @property
    def cpu(self) -> int:
        assert self.gathering.cpu is not None
        return self.gathering.cpu

    def look(self, busy: dict[int, float] | None = None, ran: dict[str, float] | None = None) -> None:
        """Ten seconds later: shares of a CPU, of what is not named nothing."""
        self.now_s += 10
        for cpu, share in (busy or {}).items():
            self._busy_s[cpu] += 10 * share
        for name, share in (ran or {}).items():
            self._ran_s[name] += 10 * share
        ticks = os.sysconf("SC_CLK_TCK")
        lines = [f"cpu{cpu} {int(busy_s * ticks)} 0 0 77 5 0 0 0 0 0" for cpu, busy_s in self._busy_s.items()]
        (self.proc / "stat").write_text("\n".join(["cpu 0 0 0 0 0 0 0 0 0 0", *lines, "intr 1 2 3"]))
        for name, tid in self._threads.items():
            task = self.proc / "self" / "task" / str(tid)
            task.mkdir(parents=True, exist_ok=True)
            (task / "schedstat").write_text(f"{int(self._ran_s[name] * 1e9)} 0 0\n")
        self.gathering.look()


@several
def test_they_move_away_from_what_others_do(tmp_path: Path) -> None:
    with threads("ingest-http") as ids:
        machine = Machine(tmp_path, ids)
        crowded = machine.cpu
        machine.look(busy={crowded: 0.9}, ran={"ingest-http": 0.3})

        assert machine.cpu != crowded
        assert os.sched_getaffinity(ids["ingest-http"]) == {machine.cpu}


@several
@pytest.mark.parametrize(
    ("ran", "chance"),
    [pytest.param(0.8, 0.0, id="it is they who use it"), pytest.param(0.3, 0.5, id="of two that met one stays")],
)
def test_they_stay_on_a_busy_cpu(tmp_path: Path, ran: float, chance: float) -> None:
    with threads("ingest-http") as ids:
        machine = Machine(tmp_path, ids)
        machine.chance, cpu = chance, machine.cpu
        machine.look(busy={cpu: 0.9}, ran={"ingest-http": ran})

        assert machine.cpu == cpu


@several
def test_consumers_leave_a_cpu_that_we_fill_while_another_is_idle_and_come_back(tmp_path: Path) -> None:
    with threads("consumer-traces", "ingest-http") as ids:
        machine = Machine(tmp_path, ids)
        full = machine.cpu
        machine.look(busy={full: 1.0}, ran={"consumer-traces": 0.5, "ingest-http": 0.5})
        assert machine.gathering.consumers_apart
        assert os.sched_getaffinity(ids["consumer-traces"]) == CPUS
        assert os.sched_getaffinity(ids["ingest-http"]) == {full}

        machine.look(busy=dict.fromkeys(CPUS, 0.5), ran={"consumer-traces": 0.5, "ingest-http": 0.5})
        assert machine.gathering.consumers_apart, "they would not fit"

        machine.look(busy={full: 0.5}, ran={"consumer-traces": 0.2, "ingest-http": 0.3})
        assert not machine.gathering.consumers_apart
        assert os.sched_getaffinity(ids["consumer-traces"]) == {full}


@several
def test_consumers_stay_on_a_cpu_that_we_fill_when_no_other_is_idle(tmp_path: Path) -> None:
    with threads("consumer-traces") as ids:
        machine = Machine(tmp_path, ids)
        machine.look(busy=dict.fromkeys(CPUS, 1.0), ran={"consumer-traces": 1.0})

        assert not machine.gathering.consumers_apart


@pytest.mark.parametrize("stat", [None, "", "cpu0 nonsense"])
def test_without_the_times_of_cpus_threads_stay_where_they_are(tmp_path: Path, stat: str | None) -> None:
    if stat is not None:
        (tmp_path / "stat").write_text(stat)
    gathering = OneCpu(proc=tmp_path)
    with threads("ingest-http") as ids:
        gathering.look()
        gathering.look()

        assert gathering.cpu is None
        assert os.sched_getaffinity(ids["ingest-http"]) == CPUS


def test_the_least_busy_cpu_is_taken_only_when_it_is_clearly_less_busy() -> None:
    assert least_busy({0: 0.9, 1: 0.1, 2: 0.3}, current=0) == 1
    assert least_busy({0: 0.3, 1: 0.1}, current=0) == 0
    assert least_busy({0: 0.0, 1: 1.0}, current=0) == 0
