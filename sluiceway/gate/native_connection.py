"""One client of the native port and its connection to the engine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sluiceway.embedded.backend import Backend
from sluiceway.embedded.users import READER, WRITER
from sluiceway.gate import native_packets as packets
from sluiceway.gate.native_packets import Cursor, Hello, IncompleteError, Query, RefusedError, ServerHello
from sluiceway.gate.slots import NoSlotError, Slots

logger = logging.getLogger(__name__)

Check = Callable[[str], "str | None"]
_T = TypeVar("_T")

_CHUNK_BYTES = 256 * 1024
_RECEIVE_BYTES = 64 * 1024
# What a client may still be sending when we end its connection; read away, so that the reason reaches it.
_DRAINED_BYTES = 1024 * 1024
_DRAIN_S = 1.0
# The engine says every 100 ms how far a query is, from its first row on, so after this long it has ended.
_ENDED_S = 0.5
_NOT_READY = "the store is not ready, try again in a few seconds"


class GoneError(Exception):
    """One side has closed its connection."""


@dataclass(frozen=True, slots=True)
class NativeLimits:
    """Bounds of the native port; times are seconds.

    Attributes:
        hello_s: from the connection to the engine's greeting.
        packet_s: from the first byte of a packet to its last.
        stalled_s: for 256 KiB of an answer, or a packet, to be taken.
        idle_s: without a byte in either direction; clients' pools keep connections for an hour.
        handshakes_max: connections that have not said who they are; over it the oldest of them is closed.
        connections_max: of readers; over it the one that was quiet longest is closed.
        connections_per_caller_max: the same for one caller.
        writers_max: connections of the writer.
    """

    hello_s: float = 10.0
    packet_s: float = 30.0
    stalled_s: float = 30.0
    idle_s: float = 3600.0
    handshakes_max: int = 64
    connections_max: int = 128
    connections_per_caller_max: int = 64
    writers_max: int = 64


@dataclass(frozen=True, slots=True)
class Rules:
    """What all connections of a gate keep to.

    Attributes:
        backend: the engine of now, None while there is none.
        check: why a statement is refused, None when it may pass.
        limits: see NativeLimits.
        slots: of queries that run.
        admit: counts a connection by its role; raises RefusedError when there is no room for it.
    """

    backend: Callable[[], Backend | None]
    check: Check
    limits: NativeLimits
    slots: Slots
    admit: Callable[[Connection, str], None]


class Connection:
    """One client and its connection to the engine.

    Attributes:
        role: `reader` or `writer`, '' until the client has said who it is.
        last_s: when a byte passed last, of the monotonic clock.
    """

    def __init__(self, rules: Rules, client: socket.socket) -> None:
        self._rules = rules
        self._limits = rules.limits
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._engine: socket.socket | None = None
        self._sending = asyncio.Lock()
        # What the query that runs holds; let go at the next packet, or when its answer has ended.
        self._slot = contextlib.AsyncExitStack()
        self._answering = False
        self.client = client
        self.role = ""
        self.caller: Hashable = None
        self.last_s = time.monotonic()

    async def run(self) -> None:
        """Serve until one side goes away or breaks a rule."""
        try:
            try:
                engine, greeting = await self._handshake()
                await self._converse(engine, greeting)
            except RefusedError as refused:
                if self._engine is not None:
                    self._engine.close()
                await self._tell(refused)
                await self._drain()
        except (GoneError, TimeoutError, OSError):
            pass
        except Exception:
            logger.exception("native port: a connection failed")
        finally:
            await self._slot.aclose()
            # The engine cancels a query whose client has gone.
            for each in (self.client, self._engine):
                if each is not None:
                    each.close()

    async def _handshake(self) -> tuple[socket.socket, bytes]:
        async with asyncio.timeout(self._limits.hello_s):
            hello = await self._read(_hello)
            backend = self._rules.backend()
            if backend is None or backend.native_port is None:
                raise RefusedError(packets.NETWORK_ERROR, _NOT_READY)
            if hello.user == WRITER:
                self._rules.admit(self, "writer")
                request = hello.encoded(user=hello.user, password=hello.password, revision=hello.revision)
                newest = None
            elif hello.user == "default" and not hello.password:
                if hello.revision < packets.OLDEST_REVISION:
                    raise RefusedError(
                        packets.UNEXPECTED_PACKET,
                        f"protocol revision: must be at least {packets.OLDEST_REVISION} (ClickHouse 22.11), "
                        f"received {hello.revision}",
                    )
                self._rules.admit(self, "reader")
                newest = min(hello.revision, packets.NEWEST_REVISION)
                request = hello.encoded(user=READER, password=backend.passwords[READER], revision=newest)
            else:
                raise RefusedError(
                    packets.AUTHENTICATION_FAILED,
                    f"user {hello.user[:64]!r} cannot log in here: readers are `default` without a password",
                )
            engine = await self._connect(backend)
            await self._loop.sock_sendall(engine, request)
            return engine, await self._greeting(engine, newest)

    async def _connect(self, backend: Backend) -> socket.socket:
        family = socket.AF_INET6 if ":" in backend.host else socket.AF_INET
        self._engine = engine = socket.socket(family, socket.SOCK_STREAM)
        engine.setblocking(False)
        engine.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await self._loop.sock_connect(engine, (backend.host, backend.native_port))
        except OSError as error:
            raise RefusedError(packets.NETWORK_ERROR, _NOT_READY) from error
        return engine

    async def _greeting(self, engine: socket.socket, newest: int | None) -> bytes:
        """What the engine answers to Hello, with a revision that both sides keep to."""
        answer = bytearray()
        while True:
            data = await self._loop.sock_recv(engine, _RECEIVE_BYTES)
            if not data:
                raise RefusedError(packets.NETWORK_ERROR, _NOT_READY)
            answer += data
            cursor = Cursor(answer)
            try:
                if newest is None or cursor.number() != packets.HELLO:
                    return bytes(answer)
                hello = ServerHello.read(cursor)
            except IncompleteError:
                continue
            return hello.encoded(min(hello.revision, newest)) + answer[cursor.position :]

    async def _converse(self, engine: socket.socket, greeting: bytes) -> None:
        await self._send(self.client, greeting)
        requests = self._requests(engine) if self.role == "reader" else self._pass_on(engine)
        sides = [asyncio.create_task(requests), asyncio.create_task(self._pump(engine, self.client))]
        try:
            await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for side in sides:
                side.cancel()
            ended = await asyncio.gather(*sides, return_exceptions=True)
        # A rule that the client broke is told to it; all other ends are silent.
        for each in sorted(ended, key=lambda each: not isinstance(each, RefusedError)):
            if isinstance(each, Exception):
                raise each

    async def _requests(self, engine: socket.socket) -> None:
        """Read the reader's packets one after the other, pass on what the engine may see."""
        await self._read(lambda cursor: cursor.string("quota key"))
        # The addendum of the handshake; an empty quota key.
        await self._send(engine, b"\0")
        while True:
            packet = await self._read(_request)
            if packet != packets.CANCEL:
                await self._slot.aclose()
            if isinstance(packet, int):
                await self._send(engine, packets.varint(packet))
                continue
            reason = self._check(packet.statement)
            if reason is not None:
                await self._tell(RefusedError(packets.ACCESS_DENIED, reason))
            await self._read(partial(_no_tables, compressed=packet.compressed))
            if reason is None and await self._take_slot():
                await self._send(engine, packet.encoded())

    async def _take_slot(self) -> bool:
        try:
            await self._slot.enter_async_context(self._rules.slots.of(self.caller))
        except NoSlotError:
            await self._tell(RefusedError(packets.TOO_MANY_QUERIES, "too many queries at once, try again later"))
            return False
        self._answering = False
        return True

    def _check(self, statement: str) -> str | None:
        try:
            return self._rules.check(statement)
        except Exception:
            logger.exception("native port: a statement could not be checked")
            return "the statement could not be checked"

    async def _pass_on(self, engine: socket.socket) -> None:
        await self._send(engine, bytes(self._received))
        self._received.clear()
        # An insert may wait for the engine; the engine itself gives up.
        await self._pump(self.client, engine, stalled_s=self._limits.idle_s)

    async def _pump(self, source: socket.socket, target: socket.socket, *, stalled_s: float | None = None) -> None:
        buffer = memoryview(bytearray(_CHUNK_BYTES))
        while True:
            try:
                async with asyncio.timeout(_ENDED_S if self._answering else None):
                    size_bytes = await self._loop.sock_recv_into(source, buffer)
            except TimeoutError:
                # Not of the query that came meanwhile.
                if self._answering:
                    self._answering = False
                    await self._slot.aclose()
                continue
            if not size_bytes:
                raise GoneError
            self.last_s = time.monotonic()
            self._answering = self.role == "reader"
            await self._send(target, buffer[:size_bytes], stalled_s)
            # Neither call waits while both sides are ready, and there are other connections.
            await asyncio.sleep(0)

    async def _send(self, target: socket.socket, data: bytes | memoryview, stalled_s: float | None = None) -> None:
        async with self._sending if target is self.client else contextlib.nullcontext():
            async with asyncio.timeout(self._limits.stalled_s if stalled_s is None else stalled_s):
                await self._loop.sock_sendall(target, data)
        self.last_s = time.monotonic()

    async def _read(self, read: Callable[[Cursor], _T]) -> _T:
        """Read one packet, which may come in any number of pieces."""
        size_bytes = 1
        deadline_s: float | None = None
        while True:
            if len(self._received) >= size_bytes:
                cursor = Cursor(self._received)
                try:
                    packet = read(cursor)
                except IncompleteError as incomplete:
                    size_bytes = incomplete.size_bytes
                else:
                    del self._received[: cursor.position]
                    return packet
            if self._received and deadline_s is None:
                deadline_s = self._loop.time() + self._limits.packet_s
            await self._receive(deadline_s)

    async def _receive(self, deadline_s: float | None) -> None:
        while True:
            until_s = deadline_s or self._loop.time() + self.last_s + self._limits.idle_s - time.monotonic()
            try:
                async with asyncio.timeout_at(until_s):
                    data = await self._loop.sock_recv(self.client, _RECEIVE_BYTES)
            except TimeoutError:
                if deadline_s is None and time.monotonic() < self.last_s + self._limits.idle_s:
                    # Answers were on their way meanwhile.
                    continue
                raise
            if not data:
                raise GoneError
            self._received += data
            self.last_s = time.monotonic()
            return

    async def _tell(self, refused: RefusedError) -> None:
        logger.debug("native port: refused: %s", refused)
        await self._send(self.client, packets.exception(refused.code, str(refused)))

    async def _drain(self) -> None:
        self.client.shutdown(socket.SHUT_WR)
        left_bytes = _DRAINED_BYTES
        async with asyncio.timeout(_DRAIN_S):
            while left_bytes > 0 and (data := await self._loop.sock_recv(self.client, _RECEIVE_BYTES)):
                left_bytes -= len(data)


def _hello(cursor: Cursor) -> Hello:
    if (number := cursor.number()) != packets.HELLO:
        # A browser, or a client of another protocol: an answer in ours would tell it nothing.
        raise GoneError(number)
    return Hello.read(cursor)


def _request(cursor: Cursor) -> Query | int:
    number = cursor.number()
    if number == packets.QUERY:
        return Query.read(cursor)
    if number in {packets.PING, packets.CANCEL}:
        return number
    raise RefusedError(
        packets.UNEXPECTED_PACKET, f"packet {number}: readers may send Query ({packets.QUERY}), Cancel and Ping"
    )


def _no_tables(cursor: Cursor, *, compressed: bool) -> None:
    if (number := cursor.number()) != packets.DATA:
        raise RefusedError(
            packets.UNEXPECTED_PACKET, f"packet {number}: a Query must be followed by Data ({packets.DATA})"
        )
    packets.skip_empty_block(cursor, compressed=compressed)
