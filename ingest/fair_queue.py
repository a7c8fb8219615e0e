"""Requests that wait for a commit, taken in turns: deficit round robin over flows, which are signal and tenant.

Without it a tenant that queued a hundred megabytes would be committed before the small request that came after them.

The bound is that of M. Shreedhar and G. Varghese, "Efficient Fair Queuing using Deficit Round Robin", SIGCOMM 1995.
While two flows wait, the bytes taken of one, in any stretch, exceed those of the other by one quantum and the largest
request of each at most, for any sizes of requests and commits: a turn that a commit cuts short goes on in the next.
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
    """Used by one thread. An empty flow is forgotten, so its size is that of what waits.

    The first flow is the one whose turn it is. Its deficit counter gets the quantum when its turn begins, and a flow
    whose turn is over keeps what its next request was too large for, which is less than that request.
    """

    def __init__(self, quantum_bytes: int = _QUANTUM_BYTES) -> None:
        self._quantum_bytes = quantum_bytes
        self._flows: OrderedDict[Hashable, deque[T]] = OrderedDict()
        self._deficit_bytes: dict[Hashable, int] = {}
        self._in_turn = False

    def __bool__(self) -> bool:
        return bool(self._flows)

    def put(self, each: T) -> None:
        """Queue `each` behind what waits of its flow."""
        waiting = self._flows.get(each.flow)
        if waiting is None:
            waiting = self._flows[each.flow] = deque()
            self._deficit_bytes[each.flow] = 0
        waiting.append(each)

    def take(self, max_bytes: int) -> list[T]:
        """What goes next, at least one when any waits; the last one taken may exceed `max_bytes`."""
        taken: list[T] = []
        left_bytes = max_bytes
        while self._flows and left_bytes > 0:
            flow, waiting = next(iter(self._flows.items()))
            deficit_bytes = self._deficit_bytes[flow]
            if not self._in_turn:
                deficit_bytes += self._quantum_bytes
                self._in_turn = True
            while waiting and waiting[0].size_bytes <= deficit_bytes and left_bytes > 0:
                each = waiting.popleft()
                deficit_bytes -= each.size_bytes
                left_bytes -= each.size_bytes
                taken.append(each)
            if not waiting:
                del self._flows[flow], self._deficit_bytes[flow]
                self._in_turn = False
                continue
            self._deficit_bytes[flow] = deficit_bytes
            if waiting[0].size_bytes > deficit_bytes:
                self._flows.move_to_end(flow)
                self._in_turn = False
        return taken
