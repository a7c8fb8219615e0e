"""Requests that wait for a commit, taken in turns: deficit round robin over flows, which are signal and tenant.

Without it a tenant that queued a hundred megabytes would be committed before the small request that came after them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, Protocol, TypeVar

# Below the size of a large request, so that a flow of small ones is not held up by one turn of another's.
_QUANTUM_BYTES = 256 * 1024


class Sized(Protocol):
    """What waits: its size, and whose it is."""

    @property
    def size_bytes(self) -> int:
        """Bytes of the request."""

    @property
    def flow(self) -> Hashable:
        """Requests of one flow keep their order and share one turn."""


T = TypeVar("T", bound=Sized)


class FairQueue(Generic[T]):
    """Used by one thread. An empty flow is forgotten, so its size is that of what waits."""

    def __init__(self, quantum_bytes: int = _QUANTUM_BYTES) -> None:
        self._quantum_bytes = quantum_bytes
        self._flows: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._credit: dict[Hashable, int] = {}

    def __bool__(self) -> bool:
        return bool(self._flows)

    def put(self, each: T) -> None:
        """Queue `each` behind what waits of its flow."""
        waiting = self._flows.get(each.flow)
        if waiting is None:
            waiting = self._flows[each.flow] = deque()
            self._credit[each.flow] = 0
        waiting.append(each)

    def take(self, max_bytes: int) -> list[T]:
        """What goes next, at least one when any waits; the last one taken may exceed `max_bytes`."""
        taken: list[T] = []
        left_bytes = max_bytes
        while self._flows and left_bytes > 0:
            flow, waiting = next(iter(self._flows.items()))
            credit = self._credit[flow] + self._quantum_bytes
            while waiting and waiting[0].size_bytes <= credit and left_bytes > 0:
                each = waiting.popleft()
                credit -= each.size_bytes
                left_bytes -= each.size_bytes
                taken.append(each)
            if not waiting:
                del self._flows[flow], self._credit[flow]
            else:
                # More than its next request is not saved up, or a flow whose turns come when a commit is nearly full
                # would one day take a whole one.
                self._credit[flow] = min(credit, waiting[0].size_bytes)
                self._flows.move_to_end(flow)
        return taken
