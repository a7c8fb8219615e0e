"""Threads that take work in turns: a turn for each peer, then for each of its tenants, then for each of its requests.

Work comes in steps of milliseconds, and a request that has taken its step waits for its next turn behind the others of
its tenant. So a large request delays a small one by one step, however many large ones came before, and whatever name
they gave. One peer never holds all threads, and one tenant of it leaves one to the others.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

# What runs until it yields is a step; what it returns is the result.
Steps = Generator[None, None, Any]


@dataclass(slots=True)
class _Job:
    """One request under way."""

    steps: Steps
    future: Future[Any]
    begun: bool = False


@dataclass(slots=True)
class _Peer:
    """What waits of one peer, by tenant in the order of their turns, and how many steps run now."""

    waiting: OrderedDict[str, deque[_Job]] = field(default_factory=OrderedDict)
    running: dict[str, int] = field(default_factory=dict)


class FairPool:
    """`submit` is safe from any thread; `shutdown` lets what was submitted run to its end."""

    def __init__(self, threads: int, name: str) -> None:
        self._most_of_peer = max(1, threads - 1)
        self._most_of_tenant = max(1, threads - 2)
        self._peers: OrderedDict[str, _Peer] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        for number in range(threads):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def submit(self, peer: str, tenant: str, steps: Steps) -> Future[Any]:
        """Run `steps` to its end; the future has what it returns or raises. Cancelling it before it began withdraws it.

        Raises:
            RuntimeError: after `shutdown`.
        """
        job = _Job(steps, Future())
        with self._changed:
            if self._closed:
                raise RuntimeError("the pool is shut down")
            self._wait_for_turn(peer, tenant, job)
        return job.future

    def shutdown(self) -> None:
        """Take nothing more; the threads end when nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _wait_for_turn(self, peer: str, tenant: str, job: _Job) -> None:
        self._peers.setdefault(peer, _Peer()).waiting.setdefault(tenant, deque()).append(job)
        self._changed.notify()

    def _next(self) -> tuple[str, str, _Job] | None:
        """Whose turn it is; None where nobody who waits may run now."""
        for name, peer in self._peers.items():
            if not peer.waiting or sum(peer.running.values()) >= self._most_of_peer:
                continue
            for tenant, jobs in peer.waiting.items():
                if peer.running.get(tenant, 0) >= self._most_of_tenant:
                    continue
                job = jobs.popleft()
                if jobs:
                    peer.waiting.move_to_end(tenant)
                else:
                    del peer.waiting[tenant]
                peer.running[tenant] = peer.running.get(tenant, 0) + 1
                self._peers.move_to_end(name)
                return name, tenant, job
        return None

    def _run(self) -> None:
        while True:
            with self._changed:
                while (turn := self._next()) is None:
                    if self._closed and not any(peer.waiting for peer in self._peers.values()):
                        return
                    self._changed.wait()
            name, tenant, job = turn
            goes_on = _step(job)
            with self._changed:
                peer = self._peers[name]
                peer.running[tenant] -= 1
                if not peer.running[tenant]:
                    del peer.running[tenant]
                if goes_on:
                    self._wait_for_turn(name, tenant, job)
                elif not peer.waiting and not peer.running:
                    del self._peers[name]
                # A thread that lies still may now run what was over a bound.
                self._changed.notify()
            del job, turn


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
