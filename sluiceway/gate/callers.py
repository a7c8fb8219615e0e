"""Who is at the other end of a connection: a user of this machine, or an address."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable
from pathlib import Path
from typing import Any

_TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}


def caller_of(peer: Any, own: Any) -> Hashable:
    """For a loopback peer the user id that owns its socket, where the kernel tells; else its address.

    Args:
        peer: address and port of the other end, as a transport's `peername`.
        own: address and port of our end, as its `sockname`.
    """
    address = ipaddress.ip_address(peer[0])
    if not address.is_loopback:
        return str(address)
    owner = _owner(peer[1], own[1], _TABLES[address.version])
    return str(address) if owner is None else owner


def _owner(port: int, own_port: int, table: Path) -> int | None:
    """The user of the socket from `port` to `own_port`; Linux's Documentation/networking/proc_net_tcp.rst."""
    local, remote = f":{port:04X}", f":{own_port:04X}"
    try:
        lines = table.read_text("ascii").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        fields = line.split()
        if fields[1].endswith(local) and fields[2].endswith(remote):
            return int(fields[7])
    return None
