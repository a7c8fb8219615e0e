"""Requests whose clients got no success while the log may have, or get, their bytes: what comes again is not appended.

OTLP gives requests no identity, so the same bytes of the same tenant are taken for the same request. Each attempt that
is remembered answers one repetition: a client that sends equal bytes twice on purpose, and was answered twice, has them
twice in the log. Nothing is remembered of requests that end well and soon, and only what has the signal, tenant and
size of one that is remembered is hashed.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from schemas.signals import Signal

Shape = tuple[Signal, str, int]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a client is told. `message` is '' when nothing was rejected."""

    signal: Signal
    accepted: int
    rejected: int
    message: str


@dataclass(eq=False, slots=True)
class Attempt:
    """One request on its way into the log, or there, whose client has no answer.

    Attributes:
        shape: signal, tenant and size of the body.
        digest: of the body.
        receipt: what a repetition is told once `durable` has resolved.
        durable: the append.
        client_waits: whether its client still waits for the answer: then equal bytes are another request. Asked from
            any thread.
        until_s: when it is forgotten (`clock`).
        claimed: whether a repetition waits for it.
    """

    shape: Shape
    digest: bytes
    receipt: Receipt
    durable: Future[None]
    client_waits: Callable[[], bool]
    until_s: float = 0.0
    claimed: bool = False


class Repeats:
    """A memory of attempts, bounded in time and number. Safe from any thread.

    Args:
        window_s: how long an attempt is remembered; 0 remembers none.
        most: attempts remembered at one time; the oldest gives way.
    """

    def __init__(self, window_s: float, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s = window_s
        self._most = most
        self._clock = clock
        self._lock = threading.Lock()
        # Both in order of age. Several have one digest where equal requests were sent at the same time.
        self._attempts: dict[Attempt, None] = {}
        self._by_shape: dict[Shape, dict[Attempt, None]] = {}

    def __len__(self) -> int:
        return len(self._attempts)

    def remember(self, attempt: Attempt) -> None:
        """Let `attempt` answer one repetition. One whose append fails answers none: its bytes are appended again."""
        if not self._window_s:
            return
        with self._lock:
            self._forget_old()
            if len(self._attempts) >= self._most:
                self._remove(next(iter(self._attempts)))
            attempt.until_s = self._clock() + self._window_s
            self._attempts[attempt] = None
            self._by_shape.setdefault(attempt.shape, {})[attempt] = None

    def claim(self, signal: Signal, tenant: str, body: bytes) -> Attempt | None:
        """The oldest attempt that this request repeats, which answers no other from now on; None for a new request."""
        shape = signal, tenant, len(body)
        # Read without the lock: an attempt of this client's was remembered before the client came again.
        if shape not in self._by_shape:
            return None
        digest = digest_of(body)
        with self._lock:
            self._forget_old()
            for attempt in [each for each in self._by_shape.get(shape, ()) if each.digest == digest]:
                if _failed(attempt.durable):
                    self._remove(attempt)
                elif not attempt.client_waits():
                    self._remove(attempt)
                    attempt.claimed = True
                    return attempt
        return None

    def take_back(self, attempt: Attempt) -> bool:
        """Forget `attempt`; False when a repetition has claimed it."""
        with self._lock:
            if attempt in self._attempts:
                self._remove(attempt)
            return not attempt.claimed

    def _forget_old(self) -> None:
        now_s = self._clock()
        while self._attempts and (oldest := next(iter(self._attempts))).until_s <= now_s:
            self._remove(oldest)

    def _remove(self, attempt: Attempt) -> None:
        del self._attempts[attempt]
        of_shape = self._by_shape[attempt.shape]
        del of_shape[attempt]
        if not of_shape:
            del self._by_shape[attempt.shape]


def digest_of(body: bytes) -> bytes:
    """256 bits that stand for a body: nobody can make two that share them."""
    return hashlib.blake2b(body, digest_size=32).digest()


def _failed(durable: Future[None]) -> bool:
    return durable.done() and (durable.cancelled() or durable.exception() is not None)
