"""A circuit breaker: a call to a peer that has failed several times is not made until it may have come back.

    closed ──failures in a row──▶ open ──its time is over──▶ half-open ──the probe succeeds──▶ closed
                                   ▲                            │
                                   └────────the probe fails─────┘  (and the next time is twice as long, up to a bound)

It decides only; it makes no call and reads no clock of its own. docs/decisions/0006 says why it is not a library.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass


class Circuit(enum.IntEnum):
    """The states; the numbers are what the gauge shows."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """When to open and for how long.

    Attributes:
        failures: calls in a row that fail before the circuit opens.
        open_s: how long it stays open at first, seconds.
        open_max_s: how long it stays open at most, seconds; each probe that fails doubles the time up to this.
        probe_s: how long one probe keeps others away when nobody reports how it ended, seconds.
    """

    failures: int = 5
    open_s: float = 1.0
    open_max_s: float = 30.0
    probe_s: float = 60.0


class CircuitBreaker:
    """Safe from any thread. Every permit that `acquire` gives is answered by one of `succeeded`, `failed`, `withdrawn`.

    The answer to a permit from before the last change of state says nothing about the peer of now and is ignored: a
    slow call that was sent before the circuit opened neither closes it nor opens it again.
    """

    def __init__(
        self,
        policy: BreakerPolicy,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_change: Callable[[Circuit], None] = lambda _state: None,
    ) -> None:
        """`on_change` hears of each new state, under the breaker's lock: it MUST return at once."""
        self._policy = policy
        self._clock = clock
        self._on_change = on_change
        self._lock = threading.Lock()
        self._state = Circuit.CLOSED
        self._epoch = 1
        self._failures = 0
        self._open_s = policy.open_s
        # Open: when the next probe may go. Half-open: when the probe under way no longer keeps others away.
        self._until = 0.0

    @property
    def state(self) -> Circuit:
        """The state now. An open circuit whose time is over stays open until a call asks."""
        return self._state

    def acquire(self) -> int | None:
        """A permit for one call; None when it must not be made now, see `retry_after_s`."""
        with self._lock:
            if self._state is Circuit.CLOSED:
                return self._epoch
            now = self._clock()
            if now < self._until:
                return None
            self._change(Circuit.HALF_OPEN)
            self._until = now + self._policy.probe_s
            return self._epoch

    def is_current(self, permit: int) -> bool:
        """Whether the call that `permit` stands for may still be made."""
        return permit == self._epoch

    def retry_after_s(self) -> float:
        """Seconds until `acquire` may give a permit again; 0 when it may now.

        While a probe is under way nobody knows: then it is the time for which the circuit would open if it failed.
        """
        with self._lock:
            if self._state is Circuit.CLOSED:
                return 0.0
            left_s = max(0.0, self._until - self._clock())
            return min(left_s, self._open_s) if self._state is Circuit.HALF_OPEN else left_s

    def succeeded(self, permit: int) -> None:
        """The peer answered, be it with a refusal of this one call."""
        with self._lock:
            if permit != self._epoch:
                return
            self._failures = 0
            if self._state is Circuit.HALF_OPEN:
                self._open_s = self._policy.open_s
                self._change(Circuit.CLOSED)

    def failed(self, permit: int) -> None:
        """The peer did not answer, or said that it cannot serve anybody now."""
        with self._lock:
            if permit != self._epoch:
                return
            if self._state is Circuit.HALF_OPEN:
                self._open_s = min(2 * self._open_s, self._policy.open_max_s)
                self._open()
                return
            self._failures += 1
            if self._failures >= self._policy.failures:
                self._open()

    def withdrawn(self, permit: int) -> None:
        """The call was not made. Where it was the probe, another may go at once."""
        with self._lock:
            if permit == self._epoch and self._state is Circuit.HALF_OPEN:
                self._change(Circuit.OPEN)
                self._until = self._clock()

    def _open(self) -> None:
        self._failures = 0
        self._change(Circuit.OPEN)
        self._until = self._clock() + self._open_s

    def _change(self, state: Circuit) -> None:
        self._state = state
        self._epoch += 1
        self._on_change(state)
