"""Who may ask the engine at one time: a bound for all, a smaller one for each caller, and a short queue."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass


class NoSlotError(Exception):
    """Nothing became free in time, or too many wait already."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    caller: Hashable
    granted: asyncio.Future[None]


class Slots:
    """`total` slots; a caller holds at most `per_caller` of them. Used from one event loop.

    A slot that becomes free goes to the caller that holds fewest, then to the one that came first.
    """

    def __init__(self, total: int, per_caller: int, *, wait_s: float, waiting_max: int) -> None:
        self._free = total
        self._per_caller = per_caller
        self._wait_s = wait_s
        self._waiting_max = waiting_max
        self._held: Counter[Hashable] = Counter()
        self._waiting: list[_Waiter] = []

    @property
    def free(self) -> int:
        """Slots that nobody holds."""
        return self._free

    @property
    def waiting(self) -> int:
        """Callers in the queue."""
        return len(self._waiting)

    @asynccontextmanager
    async def of(self, caller: Hashable) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            NoSlotError: after `wait_s`, or at once when `waiting_max` others wait.
        """
        await self._take(caller)
        try:
            yield
        finally:
            self._held[caller] -= 1
            if not self._held[caller]:
                del self._held[caller]
            self._free += 1
            self._grant()

    async def _take(self, caller: Hashable) -> None:
        if len(self._waiting) >= self._waiting_max:
            raise NoSlotError
        waiter = _Waiter(caller, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._grant()
        try:
            async with asyncio.timeout(self._wait_s):
                await waiter.granted
        except (TimeoutError, asyncio.CancelledError) as error:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            elif waiter.granted.done() and not waiter.granted.cancelled():
                # Granted in the moment in which it was given up.
                self._held[caller] -= 1
                self._free += 1
                self._grant()
            if isinstance(error, TimeoutError):
                raise NoSlotError from error
            raise

    def _grant(self) -> None:
        while self._free:
            able = [
                waiter
                for waiter in self._waiting
                if self._held[waiter.caller] < self._per_caller and not waiter.granted.done()
            ]
            if not able:
                return
            chosen = min(able, key=lambda waiter: self._held[waiter.caller])
            self._waiting.remove(chosen)
            self._held[chosen.caller] += 1
            self._free -= 1
            chosen.granted.set_result(None)
