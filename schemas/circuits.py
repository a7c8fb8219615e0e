"""The circuit breakers in front of one peer, all of this process, as metrics."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from weakref import WeakKeyDictionary

from schemas.breaker import BreakerPolicy, Circuit, CircuitBreaker
from schemas.signals import Signal
from schemas.telemetry import counter, observe


class Circuits:
    """Makes breakers that are counted. One object a peer and process: a second would be refused by the SDK."""

    def __init__(self, state: str, transitions: str) -> None:
        """Args: the names of the observed gauge and of the counter in the catalogue."""
        self._transitions = counter(transitions)
        self._breakers: WeakKeyDictionary[CircuitBreaker, tuple[Signal, ...]] = WeakKeyDictionary()
        observe(state, self._states)

    def breaker(
        self, policy: BreakerPolicy, signals: Sequence[Signal], *, clock: Callable[[], float] = time.monotonic
    ) -> CircuitBreaker:
        """A breaker for the calls of `signals`; its changes are counted for each of them."""

        def on_change(state: Circuit) -> None:
            for signal in signals:
                self._transitions.add(1, {"signal": signal.value, "state": state.name.lower()})

        made = CircuitBreaker(policy, clock=clock, on_change=on_change)
        self._breakers[made] = tuple(signals)
        return made

    def _states(self) -> Iterable[tuple[float, dict[str, str]]]:
        worst: dict[Signal, Circuit] = {}
        for breaker, signals in list(self._breakers.items()):
            for signal in signals:
                worst[signal] = max(breaker.state, worst.get(signal, Circuit.CLOSED))
        return [(float(state), {"signal": signal.value}) for signal, state in worst.items()]
