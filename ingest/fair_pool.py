"""Threads that take work in turns: a turn for each peer, then for each of its tenants, then for each of its requests.

Work comes in steps of milliseconds, and a request that has taken its step waits for its next turn behind the others of
its tenant. So a large request delays a small one by one step, however many large ones came before, and whatever name
they gave. One peer never holds all threads, and one tenant of it leaves one to the others. A first step goes before
the further steps of others, which half of the threads take at most: most requests are one step.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Generator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

# What runs until it yields is a step; what it returns is the result.
Steps = Generator[None, None, Any]
# Begun requests get every ninth step at least, or a stream of small ones would hold them up for ever.
_NEW_IN_A_ROW = 8


@dataclass(slots=True)
class _Job:
    """One request under way, and whose it is."""

    peer: str
    tenant: str
    steps: Steps
    future: Future[Any]
    begun: bool = False


class _Turns:
    """Jobs that wait: by peer, then by tenant, each in the order of their turns."""

    def __init__(self) -> None:
        self._peers: OrderedDict[str, OrderedDict[str, deque[_Job]]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._peers)

    def put(self, job: _Job) -> None:
        self._peers.setdefault(job.peer, OrderedDict()).setdefault(job.tenant, deque()).append(job)

    def take(self, may_run: Callable[[str, str], bool]) -> _Job | None:
        """Whose turn it is among those who may run."""
        for peer, tenants in self._peers.items():
            for tenant, jobs in tenants.items():
                if not may_run(peer, tenant):
                    continue
                job = jobs.popleft()
                if jobs:
                    tenants.move_to_end(tenant)
                else:
                    del tenants[tenant]
                if tenants:
                    self._peers.move_to_end(peer)
                else:
                    del self._peers[peer]
                return job
        return None


class FairPool:
    """`submit` is safe from any thread; `shutdown` lets what was submitted run to its end."""

    def __init__(self, threads: int, name: str) -> None:
        self._most_of_peer = max(1, threads - 1)
        self._most_of_tenant = max(1, threads - 2)
        self._most_begun = max(1, threads // 2)
        self._new = _Turns()
        self._begun = _Turns()
        self._new_in_a_row = 0
        self._running_begun = 0
        # By peer, and by peer and tenant: how many steps run now.
        self._running: Counter[str | tuple[str, str]] = Counter()
        self._changed = threading.Condition()
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(self, peer: str, tenant: str, steps: Steps) -> Future[Any]:
        """Run `steps` to its end; the future has what it returns or raises. Cancelling it before it began withdraws it.

        Raises:
            RuntimeError: after `shutdown`.
        """
        job = _Job(peer, tenant, steps, Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the pool is shut down")
            self._new.put(job)
            self._changed.notify()
        return job.future

    def shutdown(self) -> None:
        """Take nothing more; the threads end when nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _may_run(self, peer: str, tenant: str) -> bool:
        return self._running[peer] < self._most_of_peer and self._running[peer, tenant] < self._most_of_tenant

    def _next(self) -> _Job | None:
        """What runs next; None where nobody who waits may run now."""
        may_go_on = self._running_begun < self._most_begun
        job = None
        if may_go_on and self._new_in_a_row >= _NEW_IN_A_ROW:
            job = self._begun.take(self._may_run)
        job = job or self._new.take(self._may_run)
        if job is None and may_go_on:
            job = self._begun.take(self._may_run)
        if job is not None:
            self._new_in_a_row = 0 if job.begun else self._new_in_a_row + 1
            self._running_begun += job.begun
            self._running[job.peer] += 1
            self._running[job.peer, job.tenant] += 1
        return job

    def _run(self) -> None:
        while True:
            with self._changed:
                while (job := self._next()) is None:
                    if self._closed and not self._new and not self._begun:
                        return
                    self._changed.wait()
            was_begun = job.begun
            goes_on = _step(job)
            with self._changed:
                self._running_begun -= was_begun
                for key in (job.peer, (job.peer, job.tenant)):
                    self._running[key] -= 1
                    if not self._running[key]:
                        del self._running[key]
                if goes_on:
                    self._begun.put(job)
                # A thread that lies still may now run what was over a bound.
                if self._closed:
                    self._changed.notify_all()
                else:
                    self._changed.notify()
            del job


def _step(job: _Job) -> bool:
    """Run one step; whether there are more."""
    if not job.begun:
        if not job.future.set_running_or_notify_cancel():
            job.steps.close()
            return False
        job.begun = True
    try:
        next(job.steps)
    except StopIteration as end:
        job.future.set_result(end.value)
        return False
    except BaseException as error:  # noqa: BLE001  whoever waits for the future is told
        job.future.set_exception(error)
        return False
    return True
