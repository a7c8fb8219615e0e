"""Bodies that are on their way: nobody is refused for them, and where they are too many or too large, one is cut.

A half-sent request costs its sender nothing, so it may not cost anybody else his place. Over a bound the peer that
holds most gives way, with the body that has come slowest: not whoever comes next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

# Added to a body's age, so that the first bytes of a new one are no infinite rate.
_YOUNG_S = 0.1


class Arriving:
    """Bounds over the bodies of one receiver. Safe from any thread."""

    def __init__(
        self,
        *,
        max_bodies: int | None = None,
        max_bytes: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bodies = max_bodies
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._bodies: dict[str, dict[Body, None]] = {}
        self._count = 0
        self._bytes = 0

    @property
    def bodies(self) -> int:
        """Bodies on their way."""
        return self._count

    @property
    def size_bytes(self) -> int:
        """Bytes of them that have come."""
        return self._bytes

    def begin(self, peer: str, cut: Callable[[], object]) -> Body:
        """A body of `peer` is on its way until its `end`.

        `cut` is called at most once, from any thread, when it must give way; it was ended by then.
        """
        body = Body(self, peer, cut, self._clock())
        with self._lock:
            self._bodies.setdefault(peer, {})[body] = None
            self._count += 1
        self._keep_bounds()
        return body

    def cut_late(self, timeout_s: float) -> None:
        """Cut the bodies that began more than `timeout_s` ago."""
        began_before = self._clock() - timeout_s
        with self._lock:
            bodies = [body for of_peer in self._bodies.values() for body in of_peer]
            late = [body for body in bodies if body.began_at < began_before]
            for body in late:
                body.is_late = body.was_cut = self._end(body)
        for body in late:
            body.cut()

    def grow(self, body: Body, size_bytes: int) -> None:
        with self._lock:
            if body.ended:
                return
            body.size_bytes += size_bytes
            self._bytes += size_bytes
        self._keep_bounds()

    def end(self, body: Body) -> bool:
        with self._lock:
            return self._end(body)

    def _end(self, body: Body) -> bool:
        if body.ended:
            return False
        body.ended = True
        of_peer = self._bodies[body.peer]
        del of_peer[body]
        if not of_peer:
            del self._bodies[body.peer]
        self._count -= 1
        self._bytes -= body.size_bytes
        return True

    def _keep_bounds(self) -> None:
        while self._over():
            with self._lock:
                victim = self._slowest_of_the_largest()
                if victim is None:
                    return
                victim.was_cut = self._end(victim)
            victim.cut()

    def _over(self) -> bool:
        return (self._max_bodies is not None and self._count > self._max_bodies) or (
            self._max_bytes is not None and self._bytes > self._max_bytes
        )

    def _slowest_of_the_largest(self) -> Body | None:
        if not self._over():
            return None
        if self._max_bytes is not None and self._bytes > self._max_bytes:
            largest = max(self._bodies.values(), key=lambda bodies: sum(body.size_bytes for body in bodies))
        else:
            largest = max(self._bodies.values(), key=len)
        now = self._clock()
        # The first of equals is the oldest.
        return min(
            (body for body in largest if body.size_bytes or self._max_bytes is None),
            key=lambda body: body.size_bytes / (now - body.began_at + _YOUNG_S),
        )


class Body:
    """One body on its way.

    Attributes:
        began_at: when, by the clock of `Arriving`.
        size_bytes: bytes that have come, where that is known.
        was_cut: it had to give way, or was late.
        is_late: it was late.
    """

    __slots__ = ("_arriving", "began_at", "cut", "ended", "is_late", "peer", "size_bytes", "was_cut")

    def __init__(self, arriving: Arriving, peer: str, cut: Callable[[], object], began_at: float) -> None:
        self._arriving = arriving
        self.peer = peer
        self.cut = cut
        self.began_at = began_at
        self.size_bytes = 0
        self.was_cut = self.is_late = self.ended = False

    def grow(self, size_bytes: int) -> None:
        """More of it has come."""
        self._arriving.grow(self, size_bytes)

    def end(self) -> None:
        """It is there, or will not come. May be called again."""
        self._arriving.end(self)
