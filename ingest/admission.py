"""Bounds on what is under way: requests and bytes, both receivers together. Over a bound we push back, never queue.

One tenant, signal or peer cannot take it all: each may hold a multiple of what is free, `share / (1 - share)`. So one
alone comes to `share` of the bound, several that flood together leave some of it, and whoever comes next finds room.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from ingest.settings import IngestSettings
from ingest.throttle import Throttle
from schemas.errors import OverloadedError, RetryableError
from schemas.signals import Signal

# A name over this is refused when the request is read; until then it is no reason to keep kilobytes.
_TENANT_CHARACTERS = 129


class _Held:
    """What one tenant, signal or peer holds now."""

    __slots__ = ("bytes", "requests")

    def __init__(self) -> None:
        self.requests = 0
        self.bytes = 0


class Admission:
    """Counts admitted requests and their bytes. Safe from any thread; never blocks on a full bound."""

    def __init__(self, settings: IngestSettings, throttle: Throttle | None = None) -> None:
        self._max_requests = settings.max_concurrent_requests
        self._max_bytes = settings.max_in_flight_bytes
        self._tenant_share = settings.max_tenant_share
        self._signal_share = settings.max_signal_share
        self._peer_share = settings.max_peer_share
        self._retry_after_s = settings.retry_after_s
        self._throttle = throttle
        self._lock = threading.Lock()
        self._requests = 0
        self._bytes = 0
        self._tenants: dict[str, _Held] = {}
        self._peers: dict[str, _Held] = {}
        self._signals = {signal: _Held() for signal in Signal}
        self._closed = False

    @property
    def requests(self) -> int:
        """Requests admitted and not yet answered."""
        return self._requests

    @property
    def in_flight_bytes(self) -> int:
        """Bytes admitted and not yet answered."""
        return self._bytes

    @property
    def tenants(self) -> int:
        """Tenants that have a request under way."""
        return len(self._tenants)

    def expect(self, signal: Signal, tenant: str, peer: str = "") -> None:
        """Ask, before a body is read, whether its request would be admitted now; takes nothing.

        Raises:
            OverloadedError: too many are under way, in all or of this tenant, signal or peer; or the tenant is over its
                rate.
            RetryableError: we are stopping.
        """
        tenant = tenant[:_TENANT_CHARACTERS]
        if self._throttle is not None:
            self._throttle.refuse_in_debt(tenant)
        with self._lock:
            if self._closed:
                raise RetryableError(
                    "receiver: is stopping, send to another or again", retry_after_s=self._retry_after_s
                )
            self._refuse_over_bounds(self._signals[signal], self._tenants.get(tenant), self._peers.get(peer))

    def enter(self, signal: Signal, tenant: str, peer: str = "", *, expected: bool = False) -> Ticket:
        """Admit one request, when its body is there.

        Args:
            signal: what it holds.
            tenant: whom it names.
            peer: who sends it, as `schemas.connections.peer_of` has it; '' where that is not known, and no bound.
            expected: `expect` let it come, so it is taken although we may be stopping since.

        Raises:
            OverloadedError: as `expect`.
            RetryableError: as `expect`.
        """
        tenant = tenant[:_TENANT_CHARACTERS]
        if not expected:
            self.expect(signal, tenant, peer)
        with self._lock:
            of_signal = self._signals[signal]
            of_tenant, of_peer = self._tenants.get(tenant), self._peers.get(peer)
            self._refuse_over_bounds(of_signal, of_tenant, of_peer)
            if of_tenant is None:
                of_tenant = self._tenants[tenant] = _Held()
            if of_peer is None and peer:
                of_peer = self._peers[peer] = _Held()
            self._requests += 1
            of_signal.requests += 1
            of_tenant.requests += 1
            if of_peer is not None:
                of_peer.requests += 1
        return Ticket(self, of_signal, tenant, of_tenant, peer, of_peer)

    def _refuse_over_bounds(self, of_signal: _Held, of_tenant: _Held | None, of_peer: _Held | None) -> None:
        if self._requests >= self._max_requests:
            raise OverloadedError(
                f"max_concurrent_requests: at most {self._max_requests} requests at one time",
                retry_after_s=self._retry_after_s,
            )
        free = self._max_requests - self._requests - 1
        # The only request of its kind needs no share: it may be as large as the bound itself.
        if of_tenant is not None and _over(self._tenant_share, of_tenant.requests + 1, free):
            raise self._over_share("max_tenant_share", self._tenant_share, f"{of_tenant.requests} requests")
        if of_signal.requests and _over(self._signal_share, of_signal.requests + 1, free):
            raise self._over_share("max_signal_share", self._signal_share, f"{of_signal.requests} requests")
        if of_peer is not None and _over(self._peer_share, of_peer.requests + 1, free):
            raise self._over_share("max_peer_share", self._peer_share, f"{of_peer.requests} requests")

    def close(self) -> None:
        """Admit nothing more; what is under way goes on."""
        with self._lock:
            self._closed = True

    def grow(self, size_bytes: int, of_signal: _Held, of_tenant: _Held, of_peer: _Held | None) -> None:
        with self._lock:
            free = self._max_bytes - self._bytes - size_bytes
            if free < 0:
                raise OverloadedError(
                    f"max_in_flight_bytes: at most {self._max_bytes} bytes at one time; {self._bytes} are under way, "
                    f"{size_bytes} more were asked for",
                    retry_after_s=self._retry_after_s,
                )
            if of_tenant.requests > 1 and _over(self._tenant_share, of_tenant.bytes + size_bytes, free):
                raise self._over_share("max_tenant_share", self._tenant_share, f"{of_tenant.bytes} bytes")
            if of_signal.requests > 1 and _over(self._signal_share, of_signal.bytes + size_bytes, free):
                raise self._over_share("max_signal_share", self._signal_share, f"{of_signal.bytes} bytes")
            if of_peer is not None:
                if of_peer.requests > 1 and _over(self._peer_share, of_peer.bytes + size_bytes, free):
                    raise self._over_share("max_peer_share", self._peer_share, f"{of_peer.bytes} bytes")
                of_peer.bytes += size_bytes
            self._bytes += size_bytes
            of_signal.bytes += size_bytes
            of_tenant.bytes += size_bytes

    def leave(self, size_bytes: int, of_signal: _Held, tenant: str, of_tenant: _Held, peer: str) -> None:
        with self._lock:
            self._bytes -= size_bytes
            self._requests -= 1
            of_signal.bytes -= size_bytes
            of_signal.requests -= 1
            of_tenant.bytes -= size_bytes
            of_tenant.requests -= 1
            if not of_tenant.requests:
                del self._tenants[tenant]
            if peer:
                of_peer = self._peers[peer]
                of_peer.bytes -= size_bytes
                of_peer.requests -= 1
                if not of_peer.requests:
                    del self._peers[peer]

    def _over_share(self, setting: str, share: float, held: str) -> OverloadedError:
        whose = setting.split("_")[1]
        return OverloadedError(
            f"{setting}: one {whose} may hold {share:g} of what may be under way, less while others do; this one holds "
            f"{held}",
            retry_after_s=self._retry_after_s,
        )


def _over(share: float, held: int, free: int) -> bool:
    return held * (1 - share) > share * free


class Ticket:
    """One admitted request and the bytes that it holds. Used by one thread or task at a time; close it exactly once."""

    __slots__ = ("_admission", "_of_peer", "_of_signal", "_of_tenant", "_peer", "_tenant", "size_bytes")

    def __init__(
        self, admission: Admission, of_signal: _Held, tenant: str, of_tenant: _Held, peer: str, of_peer: _Held | None
    ) -> None:
        self._admission = admission
        self._of_signal = of_signal
        self._tenant = tenant
        self._of_tenant = of_tenant
        self._peer = peer
        self._of_peer = of_peer
        self.size_bytes = 0

    def grow(self, size_bytes: int) -> None:
        """Admit more bytes for this request.

        Raises:
            OverloadedError: too many bytes are under way, in all or of its tenant, signal or peer; nothing was added.
        """
        self._admission.grow(size_bytes, self._of_signal, self._of_tenant, self._of_peer)
        self.size_bytes += size_bytes

    def close(self) -> None:
        """Give everything back."""
        self._admission.leave(self.size_bytes, self._of_signal, self._tenant, self._of_tenant, self._peer)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
