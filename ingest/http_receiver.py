"""OTLP over HTTP: /v1/traces, /v1/metrics and /v1/logs, in protobuf and JSON, on uvicorn with httptools."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass

import uvicorn
from google.rpc import status_pb2
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from ingest.admission import Admission, Ticket
from ingest.decompress import decompress_in_steps
from ingest.fair_pool import FairPool
from ingest.http_bodies import ClientGoneError, CutError, HttpBodies
from ingest.http_protocol import bounded_protocol
from ingest.json import encode_request
from ingest.receive import SOON_S, Pending, Receipt, Reception, encode_receipt
from ingest.settings import IngestSettings
from ingest.status import JSON, PROTOBUF, answer_to, encode_status, retry_after_header, rpc_status
from ingest.tally import Tally
from ingest.tenants import Tenants
from schemas.connections import peer_of
from schemas.errors import (
    ConfigurationError,
    MalformedRequestError,
    SluicewayError,
    TooLargeError,
    UnsupportedMediaError,
)
from schemas.signals import NAMES, Signal
from schemas.telemetry import histogram

_TRANSPORT = "http"
_duration = histogram("sluiceway_ingest_request_duration_seconds")
# Checked on the event loop itself up to this size: measured 34 us for 64 KiB, and 40 us for a way to a thread and back.
_INLINE_BYTES = 64 * 1024
_BACKLOG = 2048
# What begins or separates values in JSON; inside strings too, which makes the count an upper bound.
_VALUE_MARKS = (b"{", b"[", b",")
# How long a stop may go unnoticed, and how old a Date header may be, seconds.
_TICK_S = 0.4


@dataclass(frozen=True, slots=True)
class _Head:
    media: str
    encoding: str
    tenant: str
    peer: str


class HttpReceiver:
    """The HTTP server, on a thread of its own. `start` binds and serves, `stop` drains; each is called once."""

    def __init__(self, reception: Reception, admission: Admission, tally: Tally, settings: IngestSettings) -> None:
        self._reception = reception
        self._admission = admission
        self._tally = tally
        self._settings = settings
        self._tenants = Tenants(settings)
        self._tenant_header = settings.tenant_header.encode()
        self._bodies = HttpBodies(settings)
        self._pool = FairPool(settings.http_threads, "ingest-http")
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    def app(self) -> Starlette:
        """The ASGI application."""
        app = Starlette(
            routes=[
                Route(names.http_path, _Endpoint(self, signal), methods=["POST"]) for signal, names in NAMES.items()
            ],
            middleware=[
                Middleware(
                    CORSMiddleware,
                    allow_origin_regex=_origins(self._settings.cors_origins),
                    allow_methods=["POST"],
                    allow_headers=["*"],
                    expose_headers=["Retry-After"],
                    max_age=7200,
                )
            ],
            exception_handlers={HTTPException: _not_ours},
        )
        # A slash too many would be redirected to whatever the Host header names, telemetry and all.
        app.router.redirect_slashes = False
        return app

    def server_config(self) -> uvicorn.Config:
        """How uvicorn serves the application: within our bounds, and quietly."""
        settings = self._settings
        return uvicorn.Config(
            self.app(),
            loop="uvloop",
            http=bounded_protocol(settings),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            backlog=_BACKLOG,
            timeout_keep_alive=max(1, int(settings.idle_timeout_s)),
            timeout_graceful_shutdown=max(1, int(settings.drain_timeout_s)),
        )

    def start(self) -> int:
        """Bind and serve; returns the port.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        listening = _bind(self._settings.http_host, self._settings.http_port)
        port = int(listening.getsockname()[1])
        self._server = _Server(self.server_config())
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="ingest-http", daemon=True
        )
        self._thread.start()
        self._server.serving.wait()
        return port

    def begin_stop(self) -> None:
        """Close the listening socket and idle connections; requests under way go on."""
        if self._server is not None:
            self._server.should_exit = True

    def close(self) -> None:
        """Wait until requests under way have ended, which `drain_timeout_s` bounds, and release the threads."""
        if self._thread is not None:
            self._thread.join()
        self._pool.shutdown()

    async def export(self, signal: Signal, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, from its head to its answer."""
        media = JSON
        headers = []
        try:
            media = _media(scope)
            head = self._head(scope, media)
            self._admission.expect(signal, head.tenant, head.peer)
            body = await self._bodies.read(receive, head.peer)
            with self._admission.enter(signal, head.tenant, head.peer, expected=True) as ticket:
                ticket.grow(len(body))
                started = time.perf_counter()
                receipt = await self._durable(await self._submit(signal, head, body, ticket), receive)
        except ClientGoneError:
            return
        except Exception as error:  # noqa: BLE001 - every failure has a row in the table
            self._tally.failed(signal, _TRANSPORT, error)
            status, content = answer_to(error).http, encode_status(rpc_status(error), media)
            hint = retry_after_header(error)
            if hint is not None:
                headers.append((b"retry-after", hint.encode()))
            if isinstance(error, CutError) or (b"expect", b"100-continue") in scope["headers"]:
                # The client may now send the body or not; only a new connection tells the next request from it.
                headers.append((b"connection", b"close"))
        else:
            _duration.record(time.perf_counter() - started, {"signal": signal, "transport": _TRANSPORT})
            self._tally.answered(signal, _TRANSPORT, "partial" if receipt.rejected else "accepted")
            status, content = 200, encode_receipt(receipt, media)
        headers += [(b"content-type", media.encode()), (b"content-length", str(len(content)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    def _head(self, scope: Scope, media: str) -> _Head:
        encodings, tenants = [], []
        length: int | None = None
        for name, value in scope["headers"]:
            if name == b"content-encoding":
                encodings.append(value.decode("latin-1").strip().lower())
            elif name == b"content-length":
                length = int(value)
            elif name == self._tenant_header:
                tenants.append(value.decode("latin-1").strip())
        if length is not None and length > self._settings.max_body_bytes:
            raise self._bodies.too_large()
        client = scope["client"]
        peer = peer_of(client[0]) if client else ""
        return _Head(media, _single("content-encoding", encodings), self._tenants.named(tenants), peer)

    async def _submit(self, signal: Signal, head: _Head, body: bytes, ticket: Ticket) -> Pending:
        if head.media == PROTOBUF and head.encoding in ("", "identity") and len(body) <= _INLINE_BYTES:
            return self._reception.submit(signal, _TRANSPORT, head.tenant, body, ticket.grow)
        checked = self._pool.submit(head.peer, head.tenant, self._check(signal, head, body, ticket))
        return await asyncio.wrap_future(checked)

    def _check(self, signal: Signal, head: _Head, body: bytes, ticket: Ticket) -> Generator[None, None, Pending]:
        settings = self._settings
        decoded = yield from decompress_in_steps(
            head.encoding, body, max_bytes=settings.max_decompressed_bytes, charge=ticket.grow
        )
        if decoded is not body:
            yield
        if head.media == JSON:
            memory_bytes = _json_memory_bytes(decoded)
            if memory_bytes > settings.max_json_memory_bytes:
                raise TooLargeError(
                    f"max_json_memory_bytes: at most {settings.max_json_memory_bytes} bytes of memory to decode a JSON "
                    f"body; this one of {len(decoded)} bytes takes about {memory_bytes}; protobuf takes less"
                )
            values = sum(decoded.count(mark) for mark in _VALUE_MARKS)
            if values > settings.max_request_elements:
                raise TooLargeError(
                    f"max_request_elements: at most {settings.max_request_elements} values in a JSON body; received "
                    f"about {values}"
                )
            ticket.grow(memory_bytes)
            encoded = encode_request(
                signal, decoded, max_depth=settings.max_nesting_depth, max_items=settings.max_request_items
            )
            # What the translation took is free again, and more than what is to come.
            return self._reception.submit(signal, _TRANSPORT, head.tenant, encoded)
        return self._reception.submit(signal, _TRANSPORT, head.tenant, decoded, ticket.grow)

    async def _durable(self, pending: Pending, receive: Receive) -> Receipt:
        durable = pending.durable
        client_waits = _always
        if not durable.done():
            timeout_s = self._settings.append_timeout_s
            soon_s = min(SOON_S, timeout_s)
            resolved = asyncio.wrap_future(durable)
            resolved.add_done_callback(_retrieved)
            await asyncio.wait({resolved}, timeout=soon_s)
            if not durable.done():
                gone = asyncio.ensure_future(_gone(receive))
                client_waits = lambda: not gone.done()  # noqa: E731
                self._reception.watch(pending, client_waits)
                try:
                    await asyncio.wait({resolved}, timeout=timeout_s - soon_s)
                finally:
                    gone.cancel()
            if not durable.done():
                raise self._reception.late(pending)
        try:
            durable.result()
        except SluicewayError:
            self._reception.settle(pending)
            raise
        self._reception.acknowledge(pending, client_waits=client_waits)
        return pending.receipt


def _media(scope: Scope) -> str:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"content-type"]
    media = _single("content-type", values).partition(";")[0].strip().lower()
    if media not in (PROTOBUF, JSON):
        raise UnsupportedMediaError(f"content-type: must be {PROTOBUF} or {JSON}; got {media[:64]!r}")
    return media


def _single(name: str, values: list[str]) -> str:
    if len(values) > 1:
        raise MalformedRequestError(f"{name}: must be given once at most; got {len(values)} values")
    return values[0] if values else ""


def _always() -> bool:
    return True


def _retrieved(resolved: asyncio.Future[None]) -> None:
    # Its outcome is read from the future that it wraps; asyncio would complain that nobody asked this one.
    if not resolved.cancelled():
        resolved.exception()


async def _gone(receive: Receive) -> None:
    """Returns when the client has closed the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


class _Endpoint:
    """One signal's ASGI application; a class, because Starlette wraps a function in a Request that we do not need."""

    def __init__(self, receiver: HttpReceiver, signal: Signal) -> None:
        self._receiver = receiver
        self._signal = signal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._receiver.export(self._signal, scope, receive, send)


class _Server(uvicorn.Server):
    """uvicorn that says when it serves, and lies still while nobody asks."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.serving = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.serving.set()

    async def main_loop(self) -> None:
        # uvicorn looks ten times a second, at rest too; all it looks at is the Date header and whether to end.
        while not await self.on_tick(0):
            await asyncio.sleep(_TICK_S)


async def _not_ours(request: Request, error: Exception) -> Response:
    """404 and 405 in the shape of all other errors."""
    http = error if isinstance(error, HTTPException) else HTTPException(500)
    status = status_pb2.Status(code=12, message=f"{request.method} {request.url.path[:200]}: {http.detail}")
    return Response(encode_status(status, JSON), http.status_code, dict(http.headers or {}), JSON)


def _json_memory_bytes(body: bytes) -> int:
    """What decoding a JSON body takes at most: measured 12 times its size for usual spans, 330 bytes for each `{}`."""
    return 12 * len(body) + 340 * (body.count(b"{") + body.count(b"["))


def _origins(patterns: tuple[str, ...]) -> str:
    # An empty alternation would match the empty origin; `$^` matches nothing.
    return "|".join("[^/]*".join(re.escape(part) for part in pattern.split("*")) for pattern in patterns) or "$^"


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, kind, protocol)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"ingest.http_port: must be a free port of this machine; got {host}:{port}: {error}"
        ) from error
    return listening
