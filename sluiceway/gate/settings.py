"""What the gate is told when it starts: one line of JSON on its standard input."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Bounds of the gate.

    Attributes:
        backend: the file that says where the engine is.
        log: the file that the gate's own log goes to.
        http_fd: descriptor of the socket that listens for HTTP, inherited.
        native_fd: the same for the native protocol, None when it is not served.
        allowed_hosts: names in the Host header besides loopback's.
        queries_at_once: of all readers.
        longest_answer_s: how long one answer may take in all, seconds.
        slot_wait_s: how long a query waits for its turn, seconds.
        slots_waiting_max: queries that wait at one time.
        connections_max: open connections on each port; over it the one that was idle longest is closed.
        idle_s: how long a connection may be silent, or take to send a head, seconds.
    """

    backend: str
    log: str
    http_fd: int
    native_fd: int | None
    allowed_hosts: tuple[str, ...]
    queries_at_once: int
    longest_answer_s: float
    slot_wait_s: float = 10.0
    slots_waiting_max: int = 256
    connections_max: int = 512
    idle_s: float = 30.0

    def line(self) -> bytes:
        """For the standard input of the process."""
        return json.dumps(asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Self:
        """From the standard input."""
        given = json.loads(line)
        return cls(**{**given, "allowed_hosts": tuple(given["allowed_hosts"])})
