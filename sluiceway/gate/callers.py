"""Who is at the other end of a connection: a user of this machine, or an address."""

from __future__ import annotations

import ipaddress
import socket
import struct
from collections.abc import Hashable
from functools import cache
from pathlib import Path
from typing import Any

_TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}
# sock_diag(7): one socket by its two ends. The tables of /proc hold every connection that ended within the last minute,
# and with 6,000 of them reading one took 50 ms, in which nobody else is served.
_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY, _REQUEST, _NO_COOKIE = 4, 20, 1, 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")
_ASKED = struct.Struct("=BBBBI")
# Of inet_diag_msg: behind four bytes, the ends (48 bytes) and three numbers.
_UID = struct.Struct(f"={_HEADER.size + 4 + 48 + 12}xI")
_WAIT_S = 0.5


def caller_of(peer: Any, own: Any) -> Hashable:
    """For a loopback peer the user id that owns its socket, where the kernel tells; else its address.

    Args:
        peer: address and port of the other end, as a transport's `peername`.
        own: address and port of our end, as its `sockname`.
    """
    address = ipaddress.ip_address(peer[0])
    if not address.is_loopback:
        return str(address)
    owner = _asked(peer, own) if _kernel_answers() else _listed(peer[1], own[1], _TABLES[address.version])
    return str(address) if owner is None else owner


@cache
def _kernel_answers() -> bool:
    """Whether this kernel, or the sandbox around us, has sock_diag: asked once, about a connection to ourselves."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
        client.connect(listening.getsockname())
        try:
            return _asked(client.getsockname(), client.getpeername()) is not None
        except OSError:
            return False


def _asked(peer: Any, own: Any) -> int | None:
    """The user of the socket whose ends are `peer` and `own`, None where it is gone.

    Raises:
        OSError: the kernel cannot be asked.
    """
    family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
    addresses = (socket.inet_pton(family, end[0]).ljust(16, b"\0") for end in (peer, own))
    # In any state and on any interface.
    request = _ASKED.pack(family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF) + struct.pack("!HH", peer[1], own[1])
    request += b"".join(addresses) + struct.pack("=III", 0, _NO_COOKIE, _NO_COOKIE)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_SOCK_DIAG) as kernel:
        kernel.settimeout(_WAIT_S)
        kernel.send(_HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, _REQUEST, 1, 0) + request)
        answer = kernel.recv(4096)
    if _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    return int(_UID.unpack_from(answer)[0])


def _listed(port: int, own_port: int, table: Path) -> int | None:
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
