"""The gate's process, `python -m sluiceway.gate PARENT_PID`: settings on standard input, whose end is its own end.

Apart from the pipeline, so that a reader who takes a large answer takes none of the pipeline's interpreter.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from pathlib import Path

from sluiceway.embedded.backend import Backend
from sluiceway.embedded.engine import die_with_parent
from sluiceway.gate.connections import BoundedServer
from sluiceway.gate.http import HttpGate
from sluiceway.gate.log import log_to
from sluiceway.gate.native import NativeGate
from sluiceway.gate.settings import GateSettings
from sluiceway.gate.slots import Slots

_END_S = 1.0


class _BackendFile:
    """The engine of now, read again when the file was replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read: tuple[int, int] | None = None
        self._backend: Backend | None = None

    def __call__(self) -> Backend | None:
        try:
            status = self._path.stat()
        except OSError:
            self._read = self._backend = None
            return None
        version = status.st_mtime_ns, status.st_ino
        if version != self._read:
            self._read, self._backend = version, Backend.read(self._path)
        return self._backend


async def serve(settings: GateSettings, ended: asyncio.Event) -> None:
    """Serve until `ended`."""
    loop = asyncio.get_running_loop()
    backend = _BackendFile(Path(settings.backend))
    # Of both ports together: the engine's own bound is one for all of them.
    slots = Slots(
        settings.queries_at_once,
        max(1, settings.queries_at_once * 2 // 3),
        wait_s=settings.slot_wait_s,
        waiting_max=settings.slots_waiting_max,
    )
    gate = HttpGate(backend, settings, slots)
    server = BoundedServer(gate.answer, connections_max=settings.connections_max, idle_s=settings.idle_s)
    listening = await loop.create_server(server, sock=socket.socket(fileno=settings.http_fd), backlog=1024)
    native = NativeGate(backend, slots)
    if settings.native_fd is not None:
        await native.start(socket.socket(fileno=settings.native_fd))
    try:
        await ended.wait()
    finally:
        listening.close()
        await native.close()
        await server.close(_END_S)
        await gate.close()


async def _main() -> None:
    ended = asyncio.Event()
    stdin = sys.stdin.buffer
    settings = GateSettings.read(stdin.readline())
    log_to(Path(settings.log))
    asyncio.get_running_loop().add_reader(stdin.fileno(), ended.set)
    await serve(settings, ended)


def main() -> int:
    """Run until standard input ends."""
    die_with_parent(int(sys.argv[1]))
    os.umask(0o077)
    asyncio.run(_main())
    return 0


if __name__ == "__main__":
    sys.exit(main())
