"""The store's public HTTP port: aiohttp on both sides, so that what the engine gets is written anew from what was read.

A reader's request becomes a POST of one checked statement as the engine's user `reader`; its answer is streamed. A
request with a user and a password of the engine's is passed on with its body: the engine knows whom it lets in.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Hashable, Mapping
from urllib.parse import quote, urlencode
from weakref import WeakKeyDictionary

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector, web
from yarl import URL

from sluiceway.embedded.backend import Backend
from sluiceway.embedded.users import READER
from sluiceway.gate import request as reading
from sluiceway.gate.callers import caller_of
from sluiceway.gate.request import ACCESS_DENIED, RefusedError
from sluiceway.gate.settings import GateSettings
from sluiceway.gate.slots import NoSlotError, Slots
from sluiceway.gate.statements import MAX_STATEMENT_BYTES, refusal

_log = logging.getLogger(__name__)

_STALLED_S = 30.0
# Requests with a user and a password that hold a connection to the engine, of all callers and of one: the engine takes
# 256 in all, our own processes' among them, and holds one whose body does not end, whatever the password.
_PASSED_ON, _PASSED_ON_PER_CALLER = 64, 48
_CHUNK_BYTES = 1 << 20
# What of an answer goes on. The rest would be the engine's word on CORS, connections and itself.
_ANSWER_FIELDS = ("Content-Type", "Content-Encoding")
_ANSWER_PREFIX = "x-clickhouse-"
_READER_FIELDS = ("Accept-Encoding", "User-Agent", "X-ClickHouse-Format", "X-ClickHouse-Database")
_WRITER_FIELDS = (*_READER_FIELDS, "Content-Type", "Content-Encoding")
_OURS = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
_TOO_MANY_SIMULTANEOUS_QUERIES, _NETWORK_ERROR = 202, 210


class HttpGate:
    """Answers requests; `backend` tells where the engine is, None while there is none. `close` ends its connections."""

    def __init__(self, backend: Callable[[], Backend | None], settings: GateSettings, slots: Slots) -> None:
        self._backend = backend
        self._settings = settings
        self._slots = slots
        self._passed_on = Slots(
            _PASSED_ON,
            _PASSED_ON_PER_CALLER,
            wait_s=settings.slot_wait_s,
            waiting_max=settings.slots_waiting_max,
        )
        self._callers: WeakKeyDictionary[asyncio.Transport, Hashable] = WeakKeyDictionary()
        self._session = ClientSession(
            connector=TCPConnector(limit=0, keepalive_timeout=15),
            auto_decompress=False,
            skip_auto_headers=("Accept-Encoding", "User-Agent", "Content-Type"),
            read_bufsize=_CHUNK_BYTES,
        )

    async def close(self) -> None:
        """Drop the connections to the engine."""
        await self._session.close()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request."""
        try:
            reading.check_origin(request.headers, self._settings.allowed_hosts)
            if request.method not in {"GET", "HEAD", "POST"}:
                raise RefusedError(405, f"method: must be GET, HEAD or POST, received {request.method[:20]!r}")
            if request.path == "/ping":
                return await self._ping()
            if request.rel_url.raw_path != "/":
                raise RefusedError(404, f"path: must be / or /ping, received {request.path[:200]!r}")
            given = reading.parameters(request.rel_url.raw_query_string)
            who = reading.caller(request.headers, given)
            if who.user:
                return await self._pass_on(request, given, who)
            return await self._read(request, given)
        except RefusedError as error:
            return _refused(error)

    async def _ping(self) -> web.StreamResponse:
        backend = self._running()
        try:
            async with self._session.get(
                f"{backend.url}/ping", headers=backend.headers, timeout=ClientTimeout(total=5)
            ) as answer:
                return web.Response(status=answer.status, body=await answer.read(), headers=_OURS)
        except (ClientError, TimeoutError) as error:
            raise _gone() from error

    async def _read(self, request: web.BaseRequest, given: Mapping[str, str]) -> web.StreamResponse:
        passed = reading.reader_parameters(given)
        reading.check_form(request.headers)
        statement = reading.joined([given.get("query", ""), (await _statement(request)).decode("latin-1")])
        if not statement.strip():
            return web.Response(text="Ok.\n", headers=_OURS)
        why = refusal(statement)
        if why is not None:
            raise RefusedError(403, why, ACCESS_DENIED)
        backend = self._running()
        headers = _fields(request, _READER_FIELDS) | backend.headers
        headers |= {"X-ClickHouse-User": READER, "X-ClickHouse-Key": backend.passwords[READER]}
        try:
            async with (
                self._slots.of(self._caller(request.transport)),
                asyncio.timeout(self._settings.longest_answer_s),
            ):
                return await self._forward(request, backend, passed, headers, statement.encode("latin-1"))
        except NoSlotError as error:
            raise RefusedError(
                503,
                f"{self._settings.queries_at_once} queries of readers run already; try again",
                _TOO_MANY_SIMULTANEOUS_QUERIES,
            ) from error

    async def _pass_on(
        self, request: web.BaseRequest, given: Mapping[str, str], who: reading.Caller
    ) -> web.StreamResponse:
        backend = self._running()
        headers = _fields(request, _WRITER_FIELDS) | backend.headers
        headers |= {"X-ClickHouse-User": who.user, "X-ClickHouse-Key": who.password}
        passed = {name: value for name, value in given.items() if name not in {"user", "password"}}
        body = _pieces(request) if request.body_exists else None
        try:
            async with self._passed_on.of(self._caller(request.transport)):
                return await self._forward(request, backend, passed, headers, body)
        except NoSlotError as error:
            raise RefusedError(
                503, f"{_PASSED_ON} requests of users run already; try again", _TOO_MANY_SIMULTANEOUS_QUERIES
            ) from error

    async def _forward(
        self,
        request: web.BaseRequest,
        backend: Backend,
        passed: Mapping[str, str],
        headers: dict[str, str],
        body: bytes | AsyncIterator[bytes] | None,
    ) -> web.StreamResponse:
        # A POST although a GET came in: the engine reads the statement from the body alone.
        method = "POST" if isinstance(body, bytes) else request.method
        query = urlencode(passed, encoding="latin-1", quote_via=quote, safe="")
        url = URL(f"{backend.url}/{'?' if query else ''}{query}", encoded=True)
        response: web.StreamResponse | None = None
        try:
            async with self._session.request(
                method, url, data=body, headers=headers, timeout=ClientTimeout(total=None, sock_connect=5)
            ) as answer:
                response = web.StreamResponse(status=answer.status, headers=_answer_fields(answer.headers))
                if request.method == "HEAD":
                    return response
                await response.prepare(request)
                async for piece in answer.content.iter_any():
                    async with asyncio.timeout(_STALLED_S):
                        await response.write(piece)
                await response.write_eof()
                return response
        except (ClientError, ConnectionError, TimeoutError) as error:
            if response is not None and response.prepared:
                # Its end is missing, and the client must see that.
                if request.transport is not None:
                    request.transport.abort()
                return response
            raise _gone() from error

    def _caller(self, transport: asyncio.Transport | None) -> Hashable:
        if transport is None:
            raise RefusedError(400, "the connection is gone")
        # Once a connection: the kernel's table is read line by line, 5 ms where a thousand sockets are open.
        who = self._callers.get(transport)
        if who is None:
            who = caller_of(transport.get_extra_info("peername"), transport.get_extra_info("sockname"))
            self._callers[transport] = who
        return who

    def _running(self) -> Backend:
        backend = self._backend()
        if backend is None:
            raise _gone()
        return backend


async def _pieces(request: web.BaseRequest) -> AsyncIterator[bytes]:
    """The body as it comes.

    Raises:
        ConnectionError: it stopped coming.
    """
    pieces = request.content.iter_any()
    while True:
        try:
            async with asyncio.timeout(_STALLED_S):
                piece = await anext(pieces)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise ConnectionResetError("the body stopped coming") from error
        yield piece


async def _statement(request: web.BaseRequest) -> bytes:
    """The body, bounded in bytes and in time.

    Raises:
        RefusedError: it is too long, or does not come.
    """
    body = bytearray()
    try:
        async with asyncio.timeout(_STALLED_S):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > MAX_STATEMENT_BYTES:
                    raise RefusedError(413, f"a statement has at most {MAX_STATEMENT_BYTES} bytes", ACCESS_DENIED)
    except TimeoutError as error:
        raise RefusedError(408, f"the statement must arrive within {_STALLED_S:.0f} s") from error
    return bytes(body)


def _fields(request: web.BaseRequest, names: tuple[str, ...]) -> dict[str, str]:
    return {name: request.headers[name] for name in names if name in request.headers}


def _answer_fields(headers: Mapping[str, str]) -> dict[str, str]:
    passed = {
        name: value
        for name, value in headers.items()
        if name in _ANSWER_FIELDS or name.lower().startswith(_ANSWER_PREFIX)
    }
    return passed | _OURS


def _gone() -> RefusedError:
    return RefusedError(503, "the store is starting, or was restarted; try again", _NETWORK_ERROR)


def _refused(error: RefusedError) -> web.Response:
    headers = dict(_OURS)
    text = f"{error}\n"
    if error.code is not None:
        name = {**reading.NAMES, _TOO_MANY_SIMULTANEOUS_QUERIES: "TOO_MANY_SIMULTANEOUS_QUERIES",
                _NETWORK_ERROR: "NETWORK_ERROR"}[error.code]  # fmt: skip
        headers["X-ClickHouse-Exception-Code"] = str(error.code)
        text = f"Code: {error.code}. DB::Exception: {error}. ({name})\n"
    if error.status == 503:
        headers["Retry-After"] = "1"
    if error.status == 405:
        headers["Allow"] = "GET, HEAD, POST"
    return web.Response(status=error.status, text=text, headers=headers)
