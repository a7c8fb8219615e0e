"""The native gate in a thread of the test's process, and a backend that keeps what it receives."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from sluiceway.embedded.backend import Backend
from sluiceway.embedded.users import READER
from sluiceway.gate.native import NativeGate, NativeLimits
from sluiceway.gate.slots import Slots
from tests.native_protocol import number, text

READER_PASSWORD = "only the gate knows"


@dataclass
class Gate:
    """Attributes:
    port: where clients connect.
    checked: the statements that were held against the check.
    """

    port: int
    checked: list[str] = field(default_factory=list)


@contextlib.contextmanager
def native_gate(
    backend: Backend | None,
    *,
    refuse: Callable[[str], str | None] = {}.get,
    limits: NativeLimits | None = None,
    slots: Callable[[], Slots] = lambda: Slots(12, 8, wait_s=10.0, waiting_max=256),
) -> Iterator[Gate]:
    """A gate before `backend` that refuses by `refuse`."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
    gate = Gate(listening.getsockname()[1])

    def check(statement: str) -> str | None:
        gate.checked.append(statement)
        return refuse(statement)

    async def start() -> NativeGate:
        made = NativeGate(lambda: backend, slots(), check, limits)
        await made.start(listening)
        return made

    with _loop() as run:
        serving = run(start())
        try:
            yield gate
        finally:
            run(serving.close())


@contextlib.contextmanager
def _loop() -> Iterator[Callable[[Any], Any]]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Spy:
    """Stands for the engine: greets, then keeps every byte that it receives and answers none.

    Attributes:
        backend: where it listens.
        received: what came on each connection, in the order of the connections.
        ended: set when a connection has ended.
    """

    def __init__(self, revision: int = 54492) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.greeting = b"\x00" + text("ClickHouse") + number(26) + number(9) + number(revision) + b"and more"
        port = self._listening.getsockname()[1]
        self.backend = Backend("127.0.0.1", 0, port, "", {READER: READER_PASSWORD})
        self.received: list[bytearray] = []
        self.ended = threading.Event()
        self._came = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                kept = bytearray()
                self.received.append(kept)
                threading.Thread(target=self._keep, args=(connection, kept), daemon=True).start()

    def _keep(self, connection: socket.socket, kept: bytearray) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1 << 16):
                greet = not kept
                with self._came:
                    kept += data
                    self._came.notify_all()
                if greet:
                    connection.sendall(self.greeting)
        self.ended.set()

    def await_bytes(self, part: bytes, timeout_s: float = 20.0) -> None:
        """Wait until some connection has received `part`."""
        with self._came:
            assert self._came.wait_for(lambda: any(part in each for each in self.received), timeout_s), self.received

    def close(self) -> None:
        """Stop listening."""
        # A close alone does not wake the thread that accepts.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
