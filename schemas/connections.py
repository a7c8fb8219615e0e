"""Who is connected to a server, within bounds: at a bound the connection that has waited longest makes room.

Refusing the newcomer instead would let silent connections keep everybody out, probes too, for as long as they like.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Generic, TypeVar

Connection = TypeVar("Connection")


@lru_cache(maxsize=4096)
def peer_of(host: str) -> str:
    """The peer that an address counts for: itself, or of IPv6 its network of 64 bits, which one machine owns whole."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))


@dataclass(slots=True)
class _Places(Generic[Connection]):
    """Open connections, and those that may be closed, by how long they have been so: dicts keep the order."""

    open: set[Connection] = field(default_factory=set)
    waiting: dict[Connection, None] = field(default_factory=dict)
    slow: dict[Connection, None] = field(default_factory=dict)

    def put(self, connection: Connection, into: dict[Connection, None] | None) -> None:
        self.waiting.pop(connection, None)
        self.slow.pop(connection, None)
        if into is not None:
            into[connection] = None

    def dispensable(self, newcomer: Connection | None) -> Connection | None:
        """Of those that wait the first, else of those that do not read; the newcomer last."""
        for each in (*_first_two(self.waiting), *_first_two(self.slow)):
            if each is not newcomer:
                return each
        return newcomer


def _first_two(places: dict[Connection, None]) -> list[Connection]:
    return [each for each, _ in zip(places, range(2), strict=False)]


class Connections(Generic[Connection]):
    """The connections of one server; used on its event loop only.

    A connection is waiting (no whole request of it has been read), busy, or slow (its answer waits for it to read).

    Args:
        max_connections: open connections.
        max_per_peer: of one peer, so that one cannot make room for itself at the cost of others.
    """

    def __init__(self, max_connections: int, max_per_peer: int) -> None:
        self._max_connections, self._max_per_peer = max_connections, max_per_peer
        self._all: _Places[Connection] = _Places()
        self._peers: dict[str, _Places[Connection]] = {}
        self._peer_of: dict[Connection, str] = {}

    def __len__(self) -> int:
        return len(self._all.open)

    def add(self, connection: Connection, host: str) -> Connection | None:
        """Take a new connection, which waits; returns the one to close for it, which is itself when all are busy."""
        peer = peer_of(host)
        self._peer_of[connection] = peer
        of_peer = self._peers.setdefault(peer, _Places())
        for places in (self._all, of_peer):
            places.open.add(connection)
            places.put(connection, places.waiting)
        if len(of_peer.open) > self._max_per_peer:
            return of_peer.dispensable(connection)
        return self._all.dispensable(connection) if len(self._all.open) > self._max_connections else None

    def wait(self, connection: Connection) -> None:
        """It waits again: its request was answered, and the answer taken."""
        for places in self._of(connection):
            places.put(connection, places.waiting)

    def work(self, connection: Connection) -> None:
        """A whole request of it was read, or it reads on."""
        for places in self._of(connection):
            places.put(connection, None)

    def stall(self, connection: Connection) -> None:
        """It does not read its answer."""
        for places in self._of(connection):
            places.put(connection, places.slow)

    def remove(self, connection: Connection) -> None:
        """It is closed."""
        for places in self._of(connection):
            places.put(connection, None)
            places.open.discard(connection)
        peer = self._peer_of.pop(connection, None)
        if peer is not None and not self._peers[peer].open:
            del self._peers[peer]

    def unread(self) -> Connection | None:
        """The connection that has left its answer unread for longest."""
        return next(iter(self._all.slow), None)

    def shed(self, most: int) -> list[Connection]:
        """Up to `most` connections to close, those first that have waited longest."""
        return [each for each, _ in zip((*self._all.waiting, *self._all.slow), range(most), strict=False)]

    def _of(self, connection: Connection) -> tuple[_Places[Connection], ...]:
        peer = self._peer_of.get(connection)
        return () if peer is None else (self._all, self._peers[peer])
