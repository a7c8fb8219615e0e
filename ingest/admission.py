"""Bounds on what is under way: requests and bytes, both receivers together. Over a bound we push back, never queue."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from ingest.settings import IngestSettings
from schemas.errors import OverloadedError, RetryableError


class Admission:
    """Counts admitted requests and their bytes. Safe from any thread; never blocks on a full bound."""

    def __init__(self, settings: IngestSettings) -> None:
        self._max_requests = settings.max_concurrent_requests
        self._max_bytes = settings.max_in_flight_bytes
        self._retry_after_s = settings.retry_after_s
        self._lock = threading.Lock()
        self._requests = 0
        self._bytes = 0
        self._closed = False

    @property
    def requests(self) -> int:
        """Requests admitted and not yet answered."""
        return self._requests

    @property
    def in_flight_bytes(self) -> int:
        """Bytes admitted and not yet answered."""
        return self._bytes

    def enter(self) -> Ticket:
        """Admit one request.

        Raises:
            OverloadedError: too many are under way.
            RetryableError: we are stopping.
        """
        with self._lock:
            if self._closed:
                raise RetryableError(
                    "receiver: is stopping, send to another or again", retry_after_s=self._retry_after_s
                )
            if self._requests >= self._max_requests:
                raise OverloadedError(
                    f"max_concurrent_requests: at most {self._max_requests} requests at one time",
                    retry_after_s=self._retry_after_s,
                )
            self._requests += 1
        return Ticket(self)

    def close(self) -> None:
        """Admit nothing more; what is under way goes on."""
        with self._lock:
            self._closed = True

    def grow(self, size_bytes: int) -> None:
        with self._lock:
            if self._bytes + size_bytes > self._max_bytes:
                raise OverloadedError(
                    f"max_in_flight_bytes: at most {self._max_bytes} bytes at one time; {self._bytes} are under way, "
                    f"{size_bytes} more were asked for",
                    retry_after_s=self._retry_after_s,
                )
            self._bytes += size_bytes

    def leave(self, size_bytes: int) -> None:
        with self._lock:
            self._bytes -= size_bytes
            self._requests -= 1


class Ticket:
    """One admitted request and the bytes that it holds. Used by one thread or task at a time; close it exactly once."""

    __slots__ = ("_admission", "size_bytes")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self.size_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """Admit more bytes for this request.

        Raises:
            OverloadedError: too many bytes are under way; nothing was added.
        """
        self._admission.grow(size_bytes)
        self.size_bytes += size_bytes

    def close(self) -> None:
        """Give everything back."""
        self._admission.leave(self.size_bytes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
