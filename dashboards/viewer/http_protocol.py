"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks: connections, heads, bodies, idleness, unread answers.

A connection has one deadline at a time. Whoever sends nothing, sends slowly or does not read holds a place only until
then, and at a bound not even so long: see `Connections`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Collection
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from dashboards.settings import ViewerSettings
from schemas.connections import Connections

_MAX_HEAD_BYTES = 64 * 1024
# Pages take no bodies; what somebody sends with a request all the same is read and thrown away.
_MAX_BODY_BYTES = 64 * 1024
# Requests sent before the answer to the one before. uvicorn keeps some 5 KB for each that is read.
_MAX_PIPELINED = 16
# How long a connection that is closed may take to read what was written to it, seconds.
_LINGER_S = 2.0
# struct linger of socket(7): on, for no time.
_RESET = struct.pack("ii", 1, 0)

Open = Connections["BoundedProtocol"]


def bounded_protocol(settings: ViewerSettings, connections: Open) -> type[HttpToolsProtocol]:
    """The protocol class of one server, as uvicorn's `http` option takes it."""

    class Bounded(BoundedProtocol):
        bounds = settings
        open = connections

    return Bounded


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    bounds: ViewerSettings
    open: Open

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reads = True
        self._head_bytes = self._body_bytes = 0
        self._refused = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Told of every byte that the client leaves unread, not only past a high-water mark.
        transport.set_write_buffer_limits(high=0)
        self._close_after(self.bounds.header_timeout_s)
        peer = transport.get_extra_info("peername")
        surplus = self.open.add(self, str(peer[0]) if isinstance(peer, tuple) else "")
        if surplus is self:
            self._refuse(b"503 Service Unavailable", b"Retry-After: 1\r\n", b"max_connections: too many connections")
        elif surplus is not None:
            surplus.cut()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.open.remove(self)
        super().connection_lost(exc)

    def cut(self) -> None:
        """End it now, read or not. Its place is free at once: several may be cut before the loop closes the first."""
        self.open.remove(self)
        # With a reset, or the kernel would keep what it buffered of the answer until the client reads it.
        with contextlib.suppress(OSError):
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing() or self._refused:
            return
        if self._reads and not self._head_bytes and not self._serves():
            self._close_after(self.bounds.header_timeout_s)
        self._head_bytes += len(data)
        super().data_received(data)
        if self._reads and self._head_bytes > _MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reads = True

    def on_headers_complete(self) -> None:
        head_bytes = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if self._refused or head_bytes > _MAX_HEAD_BYTES:
            self._refuse_head()
            return
        if len(self.pipeline) >= _MAX_PIPELINED:
            self._refuse(b"400 Bad Request", b"", b"pipeline: too many requests before the answer to the first")
            return
        self._reads = False
        self._body_bytes = 0
        self.open.work(self)
        super().on_headers_complete()
        self._close_after(self.bounds.body_timeout_s)

    def on_body(self, body: bytes) -> None:
        if self._refused:
            return
        self._body_bytes += len(body)
        if self._body_bytes > _MAX_BODY_BYTES:
            self._refuse(b"413 Content Too Large", b"", b"body: pages take none")
            return
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._refused:
            return
        super().on_message_complete()
        self._reads = True
        # What came in the same read belongs to the next head and goes uncounted; a read is at most 256 KiB.
        self._head_bytes = 0
        if self._serves():
            self._cut_after(self.bounds.answer_timeout_s)
        else:
            self._idle()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        # Its own would end who still reads; ours counts from when the answer was taken.
        self._unset_keepalive_if_required()
        # While bytes of it are unread, closed or not, the deadline of its request goes on.
        if not self.transport.get_write_buffer_size() and not self.transport.is_closing() and not self._refused:
            self._idle()

    def pause_writing(self) -> None:
        super().pause_writing()
        self.open.stall(self)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._serves():
            self.open.work(self)
        elif not self.transport.is_closing():
            self._idle()

    def send_400_response(self, msg: str) -> None:
        self._refuse(b"400 Bad Request", b"", msg.encode())

    def _unsupported_upgrade_warning(self) -> None:
        # Served as if it had not asked (RFC 9110, 7.8), without two lines in our log for each.
        pass

    def _idle(self) -> None:
        if self._serves():
            self._cut_after(self.bounds.answer_timeout_s)
            return
        self.open.wait(self)
        if not self._reads:
            # Answered before its body came.
            self._close_after(self.bounds.body_timeout_s)
        else:
            self._close_after(self.bounds.header_timeout_s if self._head_bytes else self.bounds.idle_timeout_s)

    def _serves(self) -> bool:
        """Whether a request waits for its answer."""
        return bool(self.pipeline) or (self.cycle is not None and not self.cycle.response_complete)

    def _refuse_head(self) -> None:
        reason = f"head: at most {_MAX_HEAD_BYTES} bytes of headers".encode()
        self._refuse(b"431 Request Header Fields Too Large", b"", reason)

    def _refuse(self, status: bytes, header: bytes, reason: bytes) -> None:
        if self._refused:
            return
        self._refused = True
        if not self._serves():
            # After requests that are being answered its client would take it for their answer.
            head = b"HTTP/1.1 %b\r\n%bContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
            self.transport.write(head % (status, header, len(reason)) + reason)
        self._close()

    def _close(self) -> None:
        self.transport.close()
        self._cut_after(_LINGER_S)

    def _close_after(self, timeout_s: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(timeout_s, self._close)

    def _cut_after(self, timeout_s: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(timeout_s, self.cut)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


class BoundedPages:
    """At most so many pages at once; the paths of probes are answered whatever the pages do.

    At the bound a page that its client does not read makes room.
    """

    def __init__(self, app: ASGIApp, max_pages: int, exempt: Collection[str], connections: Open) -> None:
        self._app = app
        self._max_pages = max_pages
        self._exempt = frozenset(exempt)
        self._connections = connections
        self._pages = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
        elif self._pages >= self._max_pages and not self._room_made():
            body = b"max_pages: too many pages at once"
            headers = [
                (b"retry-after", b"1"),
                (b"content-type", b"text/plain"),
                (b"content-length", str(len(body)).encode()),
                (b"connection", b"close"),
            ]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": body})
        else:
            self._pages += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._pages -= 1

    def _room_made(self) -> bool:
        unread = self._connections.unread()
        if unread is None:
            return False
        unread.cut()
        return True
