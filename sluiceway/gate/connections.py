"""aiohttp's server with a bound on connections: at the bound the one that was idle longest makes room."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_protocol import RequestHandler


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
