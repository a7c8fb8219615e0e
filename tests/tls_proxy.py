"""TLS in front of a plain port, with a certificate of a CA that only this test knows."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import trustme

_CHUNK_BYTES = 1 << 16


class TlsProxy:
    """Passes what it decrypts on to `port` of this machine, and the answers back; one thread, one event loop.

    Attributes:
        url: where it listens.
        ca_file: the certificate of its CA.
    """

    def __init__(self, port: int, folder: Path) -> None:
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("127.0.0.1").configure_cert(self._context)
        self._backend = port
        self._listening = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)
        self.url = ""

    def start(self) -> None:
        """Listen on a free port."""
        self._thread.start()
        assert self._listening.wait(10)

    def stop(self) -> None:
        """Cut every connection."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self) -> None:
        tasks: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._connection(reader, writer)
            tasks.discard(task)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=self._context)
        self.url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._listening.set()
        await self._stopped.wait()
        server.close()
        for task in tuple(tasks):
            task.cancel()
        while tasks:
            await asyncio.sleep(0.01)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer):
            to_reader, to_writer = await asyncio.open_connection("127.0.0.1", self._backend)
            with contextlib.closing(to_writer):
                ways = [
                    asyncio.ensure_future(_copy(reader, to_writer)),
                    asyncio.ensure_future(_copy(to_reader, writer)),
                ]
                try:
                    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for way in ways:
                        way.cancel()
                    await asyncio.gather(*ways, return_exceptions=True)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while chunk := await reader.read(_CHUNK_BYTES):
        writer.write(chunk)
        await writer.drain()


@contextlib.contextmanager
def tls_proxy(port: int, folder: Path) -> Iterator[TlsProxy]:
    """A running proxy."""
    proxy = TlsProxy(port, folder)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
