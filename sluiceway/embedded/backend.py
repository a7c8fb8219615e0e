"""Where this run's engine listens and what opens it: made anew for every start of the child, read by our own processes.

The engine's ports are on loopback, where any local program could connect, so each of them asks for something that only
the owner of the store's folder can read. A value is good for one start: a program that takes over the port of an engine
that crashed, and is spoken to before we notice, learns nothing that opens the next one.
"""

from __future__ import annotations

import json
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from sluiceway.embedded.folder import write_private
from sluiceway.embedded.users import INTERNAL_USERS

# The engine answers 404 to every request without it.
SECRET_HEADER = "X-Sluiceway-Gate"  # noqa: S105  # the name, not the value


@dataclass(frozen=True, slots=True)
class Backend:
    """One start of the engine.

    Attributes:
        host: loopback address that it listens on.
        http_port: its HTTP port.
        native_port: its native TCP port, None when closed.
        secret: value of `SECRET_HEADER`.
        passwords: of the users in `INTERNAL_USERS`.
    """

    host: str
    http_port: int
    native_port: int | None
    secret: str
    passwords: dict[str, str]

    @classmethod
    def fresh(cls, host: str, *, native: bool) -> Self:
        """Free ports and new secrets."""
        http_port, native_port = _free_ports(host, 2)
        passwords = {user: secrets.token_urlsafe(32) for user in INTERNAL_USERS}
        return cls(host, http_port, native_port if native else None, secrets.token_urlsafe(32), passwords)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The engine that runs now, None where none does or the file is not ours to read."""
        try:
            return cls(**json.loads(path.read_text("ascii")))
        except (OSError, ValueError, TypeError):
            return None

    def write(self, path: Path) -> None:
        """Keep it for our other processes, mode 0600."""
        write_private(path, json.dumps(asdict(self)))

    @property
    def url(self) -> str:
        """Base URL of the engine's own HTTP interface."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.http_port}"

    @property
    def headers(self) -> dict[str, str]:
        """Headers that every request to the engine needs."""
        return {SECRET_HEADER: self.secret}


def _free_ports(host: str, count: int) -> list[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    probes = [socket.socket(family, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((host, 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
