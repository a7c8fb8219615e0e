"""aiohttp's server with a bound on connections: at the bound the one that was idle longest makes room."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web_protocol import RequestHandler

_RECORDS_A_MINUTE = 10
_RECORD_CHARACTERS = 4000


def _failures() -> logging.Logger:
    """Where aiohttp reports what failed: bounded in number and size, as whoever sends nonsense decides on both."""
    logger = logging.getLogger("sluiceway.gate.http")
    if not logger.filters:
        logger.addFilter(_Sparing())
    return logger


class _Sparing(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._minute, self._passed = 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None and issubclass(kind, HttpProcessingError):
            # A request that is none: its sender is told.
            return False
        minute = int(time.monotonic() / 60)
        if minute != self._minute:
            self._minute, self._passed = minute, 0
        self._passed += 1
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        record.msg, record.args, record.exc_info = text[-_RECORD_CHARACTERS:], (), None
        return self._passed <= _RECORDS_A_MINUTE


class BoundedServer:
    """A protocol factory for `loop.create_server`. Silence and half a head are idle; a request under way is not."""

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        connections_max: int,
        idle_s: float,
    ) -> None:
        self._answer = answer
        self._connections_max = connections_max
        self._idle: OrderedDict[RequestHandler, None] = OrderedDict()
        self._server = web.Server(
            self._serve,
            keepalive_timeout=idle_s,
            max_line_size=64 * 1024,
            max_field_size=64 * 1024,
            lingering_time=1.0,
            # A body goes on as it came, under the Content-Encoding that it came with.
            auto_decompress=False,
            logger=_failures(),
            handler_cancellation=True,
            access_log=None,
        )

    def __call__(self) -> asyncio.Protocol:
        """A protocol for one connection."""
        while len(self._server.connections) >= self._connections_max and self._idle:
            oldest, _ = self._idle.popitem(last=False)
            oldest.force_close()
        protocol = self._server()
        self._idle[protocol] = None
        return protocol

    async def close(self, timeout_s: float) -> None:
        """Let answers under way end for `timeout_s`, close the rest."""
        await self._server.shutdown(timeout_s)

    async def _serve(self, request: web.BaseRequest) -> web.StreamResponse:
        protocol = request.protocol
        self._idle.pop(protocol, None)
        try:
            return await self._answer(request)
        finally:
            if protocol.transport is not None:
                self._idle[protocol] = None
