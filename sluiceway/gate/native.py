"""The gate of ClickHouse's native protocol: clients without a password become the engine's reader, packet by packet.

What a reader sends is read, checked and written anew by `native_packets`; the engine's answers are passed on as bytes.
The writer's connection is passed on as it is, since its password is checked by the engine.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Callable

from sluiceway.embedded.backend import Backend
from sluiceway.gate import native_packets as packets
from sluiceway.gate.callers import caller_of
from sluiceway.gate.native_connection import Check, Connection, GoneError, NativeLimits, Rules
from sluiceway.gate.native_packets import RefusedError
from sluiceway.gate.slots import Slots
from sluiceway.gate.statements import refusal

__all__ = ["NativeGate", "NativeLimits"]

logger = logging.getLogger(__name__)

# A running query sends its progress ten times a second, so a connection without a byte for this long is idle.
_QUIET_S = 5.0


class NativeGate:
    """Serves one listening socket from `start()` to `close()`."""

    def __init__(
        self,
        backend: Callable[[], Backend | None],
        slots: Slots,
        check: Check = refusal,
        limits: NativeLimits | None = None,
    ) -> None:
        """Args:
        backend: the engine of now, None while there is none.
        slots: of queries that run, shared with the other ports.
        check: why a statement of a reader is refused, None when it may pass.
        limits: see NativeLimits.
        """
        self.limits = limits or NativeLimits()
        self._rules = Rules(backend, check, self.limits, slots, self._admit)
        self._tasks: dict[asyncio.Task[None], Connection] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._listening: socket.socket | None = None

    async def start(self, listening: socket.socket) -> None:
        """Serve `listening`, a bound socket that listens; it is closed by `close()`."""
        listening.setblocking(False)
        self._listening = listening
        self._accepting = asyncio.create_task(self._accept(listening))

    @property
    def port(self) -> int:
        """The port that is served."""
        if self._listening is None:
            raise RuntimeError("the gate was not started")
        return int(self._listening.getsockname()[1])

    async def close(self) -> None:
        """End every connection."""
        ending = [*self._tasks, *([self._accepting] if self._accepting else [])]
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)
        if self._listening is not None:
            self._listening.close()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = await loop.sock_accept(listening)
            except OSError as error:
                # Out of descriptors: somebody's silence has to end.
                logger.warning("native port: cannot accept: %s", error)
                self._end_oldest_handshake()
                await asyncio.sleep(0.1)
                continue
            client.setblocking(False)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(self._rules, client)
            task = asyncio.create_task(connection.run())
            self._tasks[task] = connection
            task.add_done_callback(self._ended)
            if sum(each.role == "" for each in self._tasks.values()) > self.limits.handshakes_max:
                self._end_oldest_handshake()

    def _ended(self, task: asyncio.Task[None]) -> None:
        # One that was ended before it began has closed nothing itself.
        self._tasks.pop(task).client.close()

    def _end_oldest_handshake(self) -> None:
        for task, connection in self._tasks.items():
            if connection.role == "" and not task.cancelling():
                task.cancel()
                return

    def _admit(self, connection: Connection, role: str) -> None:
        """Count a connection that has said who it is, and make room for it.

        Raises:
            RefusedError: nothing is quiet enough to make room.
        """
        limits = self.limits
        try:
            caller = caller_of(connection.client.getpeername(), connection.client.getsockname())
        except OSError as error:
            raise GoneError from error
        same = [(task, each) for task, each in self._tasks.items() if each.role == role and not task.cancelling()]
        if role == "writer":
            if len(same) >= limits.writers_max:
                raise RefusedError(packets.TOO_MANY_QUERIES, f"the writer has at most {limits.writers_max} connections")
        else:
            callers = [(task, each) for task, each in same if each.caller == caller]
            if len(callers) >= limits.connections_per_caller_max:
                self._make_room(callers)
            elif len(same) >= limits.connections_max:
                self._make_room(same)
        connection.role, connection.caller = role, caller

    def _make_room(self, among: list[tuple[asyncio.Task[None], Connection]]) -> None:
        task, quietest = min(among, key=lambda each: each[1].last_s)
        if time.monotonic() - quietest.last_s < _QUIET_S:
            raise RefusedError(
                packets.TOO_MANY_QUERIES, f"{len(among)} connections of readers are busy, try again later"
            )
        task.cancel()
