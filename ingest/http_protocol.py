"""uvicorn's HTTP/1.1 protocol with the bounds that it lacks: on connections, on the head, on framing, on idle bodies.

Without these a client holds a connection for ever by sending its head slowly, or fills our memory with one endless
header, since the parser itself bounds neither.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections import deque
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ingest.settings import IngestSettings
from schemas.connections import Connections

_MAX_HEAD_BYTES = 64 * 1024
# Chunks of one byte are framed by five; trailers and chunk extensions have the rest.
_FRAMING_BYTES_PER_BODY_BYTE = 8
# A request line without its target, and a header without its name and value, take this at least.
_REQUEST_LINE_BYTES, _HEADER_BYTES = len(b"POST  HTTP/1.1\r\n\r\n"), len(b":\r\n")
# uri-host [ ":" port ] of RFC 9110, 7.2, loosely; it may be empty.
_HOST = re.compile(rb"[A-Za-z0-9._~!$&'()*+,;=%:\[\]-]*")
_TOO_LONG = f"head: at most {_MAX_HEAD_BYTES} bytes of headers, chunk framing and trailers".encode()


def bounded_protocol(settings: IngestSettings) -> type[HttpToolsProtocol]:
    """The protocol class with the bounds of `settings`, as uvicorn's `http` option takes it."""

    class Bounded(_BoundedProtocol):
        bounds = settings
        places = Connections[_BoundedProtocol](settings.max_connections, settings.max_connections_per_peer)

    return Bounded


class _BoundedProtocol(HttpToolsProtocol):
    bounds: IngestSettings
    places: Connections[_BoundedProtocol]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._in_head = True
        self._framing_bytes = 0
        self._head_bytes = 0
        self._body_bytes = 0
        self._unread_bytes = 0
        self._deadline: asyncio.TimerHandle | None = None
        self._fed = b""
        self._resuming = False
        self._unanswered: deque[RequestResponseCycle] = deque()
        self._refusal: bytes | None = None
        # Why a callback of the parser stopped it.
        self._stopped_by: tuple[bytes, bytes] | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        surplus = self.places.add(self, self.client[0] if self.client else "")
        if surplus is self:
            self._answer_and_close(
                b"503 Service Unavailable", b"Retry-After: 1\r\n", b"max_connections: too many connections"
            )
            return
        self._close_after(self.bounds.header_timeout_s)
        if surplus is not None:
            # At once, for a close would wait for it to read what it was sent.
            surplus.places.remove(surplus)
            surplus.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.places.remove(self)
        # uvicorn tells only the last of pipelined requests that its client has gone; the one being served would then
        # write to a closed transport.
        for cycle in self._unanswered:
            cycle.disconnected = not cycle.response_complete
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # A refused connection may still deliver what had arrived before it was closed.
        while data and not (self.transport.is_closing() or self._refusal is not None):
            # A head is fed up to its bound and no further: the parser tells that it ends, not where.
            left = max(0, _MAX_HEAD_BYTES - self._framing_bytes) if self._in_head else len(data)
            part, data = (data, b"") if left >= len(data) else (data[:left], data[left:])
            self._feed(part)
            if data and self._in_head and self._framing_bytes >= _MAX_HEAD_BYTES:
                self._refuse_the_head()

    def _feed(self, data: bytes) -> None:
        self._framing_bytes += len(data)
        self._fed = data
        super().data_received(data)
        if self.transport.is_closing() or self._refusal is not None:
            return
        if self._framing_bytes > _MAX_HEAD_BYTES + _FRAMING_BYTES_PER_BODY_BYTE * self._body_bytes:
            self._refuse_the_head()
        else:
            self._time_the_head()

    def _refuse_the_head(self) -> None:
        if not self.transport.is_closing() and self._refusal is None:
            self._answer_and_close(b"431 Request Header Fields Too Large", b"", _TOO_LONG)

    def _unsupported_upgrade_warning(self) -> None:
        """Serve a request that asks for an upgrade as if it had not, which RFC 9110, 7.8 lets a server do.

        The parser skips the body of such a request, so it would look empty and be acknowledged; Java's HTTP client asks
        for h2c with its first POST. uvicorn calls this where the parser stops: a new parser goes on with the body.
        """
        stopped = sys.exc_info()[1]
        rest = self._fed[stopped.args[0] :] if isinstance(stopped, httptools.HttpParserUpgrade) else b""
        framing = b"".join(
            name + b": " + value + b"\r\n"
            for name, value in self.headers
            if name in (b"content-length", b"transfer-encoding")
        )
        self.parser = httptools.HttpRequestParser(self)
        self.cycle.more_body = True
        self.cycle.message_event.clear()
        self._in_head = False
        self._resuming = True
        try:
            self.parser.feed_data(b"POST / HTTP/1.1\r\nHost: resumed\r\n" + framing + b"\r\n")
            self._resuming = False
            self.parser.feed_data(rest)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._resuming = False
            self.send_400_response("Invalid HTTP request received.")

    def on_message_begin(self) -> None:
        if not self._resuming:
            self._head_bytes = _REQUEST_LINE_BYTES
            super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        if not self._resuming:
            self._count_head(len(url))
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        # Trailers come here too, after the head. RFC 9110, 6.5.1: they must not be merged into it, where a late tenant
        # or content type would count or not by when it arrived.
        if self._in_head and not self._resuming:
            self._count_head(len(name) + len(value) + _HEADER_BYTES)
            super().on_header(name, value)

    def _count_head(self, size_bytes: int) -> None:
        # A head that begins within a read, behind another request, is counted by what is in it.
        self._head_bytes += size_bytes
        if self._head_bytes > _MAX_HEAD_BYTES:
            self._stop(b"431 Request Header Fields Too Large", _TOO_LONG)

    def _check_host(self) -> None:
        """RFC 9112, 3.2: 400 for a request of HTTP/1.1 without Host, with more than one, or with no host in it."""
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            self._stop(b"400 Bad Request", b"host: must be given once; got %d values" % len(hosts))
        if hosts and not _HOST.fullmatch(hosts[0].strip()):
            self._stop(b"400 Bad Request", b"host: must be a host and port; got " + ascii(hosts[0][:200]).encode())

    def _stop(self, status: bytes, reason: bytes) -> None:
        """End the parser from one of its callbacks; uvicorn then calls `send_400_response`."""
        self._stopped_by = status, reason
        raise httptools.HttpParserError(reason.decode())

    def on_headers_complete(self) -> None:
        if self._resuming:
            return
        self._check_host()
        self._disarm()
        self._in_head = False
        self._body_bytes = self._unread_bytes = 0
        self._framing_bytes = 0
        super().on_headers_complete()
        while self._unanswered and self._unanswered[0].response_complete:
            self._unanswered.popleft()
        self._unanswered.append(self.cycle)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._framing_bytes -= len(body)
        if self.cycle.response_complete:
            # The answer was an error that did not need the body; reading on lets the client see it, up to a bound.
            self._unread_bytes += len(body)
            if self._unread_bytes > self.bounds.max_body_bytes:
                self.transport.close()
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._disarm()
        self._in_head = True
        self.places.work(self)
        # What follows in the same read belongs to the next request and goes uncounted; a read is at most 256 KiB.
        self._framing_bytes = 0

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if not self._serves():
            self.places.wait(self)
        if self._refusal is not None:
            self._refuse_in_turn(self._refusal)
        elif not self._in_head:
            self._close_after(self.bounds.body_timeout_s)
        else:
            self._time_the_head()

    def _time_the_head(self) -> None:
        # While we serve the request before, it is we who do not read.
        if self._in_head and self._framing_bytes and self._deadline is None and not self._serves():
            self._close_after(self.bounds.header_timeout_s)

    def _serves(self) -> bool:
        """Whether a whole request waits for its answer."""
        return any(not cycle.more_body and not cycle.response_complete for cycle in self._unanswered)

    def send_400_response(self, msg: str) -> None:
        status, reason = self._stopped_by or (b"400 Bad Request", msg.encode())
        self._answer_and_close(status, b"", reason)

    def _answer_and_close(self, status: bytes, header: bytes, reason: bytes) -> None:
        head = b"HTTP/1.1 %b\r\n%bContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        self._disarm()
        self._refuse_in_turn(head % (status, header, len(reason)) + reason)

    def _refuse_in_turn(self, refusal: bytes) -> None:
        """Answer what cannot be read after the whole requests before it, whose clients would take it for their own."""
        if self._serves():
            self._refusal = refusal
            self.flow.pause_reading()
        else:
            self.transport.write(refusal)
            self.transport.close()

    def _close_after(self, timeout_s: float) -> None:
        self._disarm()
        self._deadline = self.loop.call_later(timeout_s, self.transport.close)

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
