"""The circuit breaker in front of the store: one a signal, so that a table which fails stops no other signal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from processors.settings import BatchSettings
from schemas.breaker import BreakerPolicy, CircuitBreaker
from schemas.circuits import Circuits
from schemas.errors import PermanentError, StoreUnavailableError
from schemas.signals import Signal

_circuits = Circuits("sluiceway_store_circuit_state", "sluiceway_store_circuit_transitions_total")
# Longer than an insert may take, or a second probe would go beside one that is merely slow.
_PROBE_S = 600.0


def store_breaker(signal: Signal, settings: BatchSettings) -> CircuitBreaker:
    """A closed breaker for the inserts of one signal."""
    policy = BreakerPolicy(
        settings.circuit_failures, settings.circuit_open_s, settings.circuit_open_max_s, probe_s=_PROBE_S
    )
    return _circuits.breaker(policy, [signal])


@contextmanager
def guarded(breaker: CircuitBreaker | None) -> Iterator[None]:
    """One call to the store; tells the breaker how it ended.

    Raises:
        StoreUnavailableError: the circuit is open; the call was not made.
    """
    if breaker is None:
        yield
        return
    permit = breaker.acquire()
    if permit is None:
        after_s = breaker.retry_after_s()
        raise StoreUnavailableError(
            f"circuit: the store is not asked for {after_s:.1f} s more, after failures in a row", retry_after_s=after_s
        )
    try:
        yield
    except StoreUnavailableError:
        breaker.failed(permit)
        raise
    except PermanentError:
        # It answered: it is there.
        breaker.succeeded(permit)
        raise
    except BaseException:
        breaker.withdrawn(permit)
        raise
    breaker.succeeded(permit)
