"""The viewer, or probes alone, as a part of a larger program: an HTTP server on a thread of its own."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any

import uvicorn
from clickhouse_connect.driver.client import Client
from starlette.applications import Starlette
from starlette.routing import Route

from dashboards.boards.file import BoardFile
from dashboards.settings import ViewerSettings
from dashboards.store import StoreReader
from dashboards.viewer import app
from dashboards.viewer.alerts import Alerting
from dashboards.viewer.health import PipelineHealth
from dashboards.viewer.http_protocol import BoundedPages, Open, bounded_protocol
from schemas.connections import Connections
from schemas.errors import ConfigurationError, SluicewayError

_log = logging.getLogger(__name__)
# How long a stop may go unnoticed, and how old a Date header may be, seconds.
_TICK_S = 0.4
# asyncio accepts so many in one turn of its loop. Fewer than a bound on connections, so that one which brings its
# request along is read before it could have to make room.
_ACCEPTED_AT_ONCE = 32
# Those wait in the kernel meanwhile.
_BACKLOG = 1024
# Closed when the process has no descriptor left to accept with; asyncio tries again after a second.
_SHED_AT_ONCE = 16
_SHED_INTERVAL_S = 0.5
_TELL_INTERVAL_S = 60.0


class AppServer:
    """Serves one application from `start` to `stop`; may be started again. Takes no signals: the program stops it.

    Args:
        settings: where to listen, and whether at all.
        build: makes the application, at every start.
        exempt: paths that are answered whatever other requests do: probes.
    """

    def __init__(self, settings: ViewerSettings, build: Callable[[], Starlette], exempt: Collection[str] = ()) -> None:
        self._settings = settings
        self._build = build
        self._exempt = frozenset(exempt)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._port = settings.port

    @property
    def url(self) -> str:
        """Where a browser finds it; after `start` with the port that was taken."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._port}"

    def start(self, *, timeout_s: float = 10) -> None:
        """Listen and serve; return when requests are answered. Does nothing when the settings disable the viewer.

        Raises:
            ConfigurationError: the address cannot be listened on, or the browser's files are not installed.
        """
        if self._thread is not None:
            raise RuntimeError("the viewer is started already")
        if not self._settings.enabled:
            return
        settings = self._settings
        listening = self._listen()
        connections: Open = Connections(settings.max_connections, settings.max_connections_per_peer)
        try:
            config = uvicorn.Config(
                BoundedPages(self._build(), settings.max_pages, self._exempt, connections),
                http=bounded_protocol(settings, connections),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                # asyncio's own loop: uvloop would be one more native loop in the process for pages of a few kilobytes.
                loop="asyncio",
                backlog=_ACCEPTED_AT_ONCE,
                timeout_graceful_shutdown=3,
            )
        except BaseException:
            listening.close()
            raise
        self._server = _Server(config, connections)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listening]}, name="viewer", daemon=True
        )
        self._thread.start()
        give_up = time.monotonic() + timeout_s
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > give_up:
                self.stop()
                raise SluicewayError(f"the viewer did not start within {timeout_s} s; the log says why")
            time.sleep(0.01)

    def stop(self) -> None:
        """Answer what is under way and close the port. Harmless when not started."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._server = self._thread = None

    def _listen(self) -> socket.socket:
        # Bound here and not by uvicorn, which ends the whole program when a port is taken.
        family = socket.AF_INET6 if ":" in self._settings.host else socket.AF_INET
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((self._settings.host, self._settings.port))
        except OSError as error:
            listening.close()
            raise ConfigurationError(
                f"viewer.host, viewer.port: cannot listen on {self._settings.host}:{self._settings.port}: "
                f"{error.strerror}"
            ) from error
        self._port = listening.getsockname()[1]
        return listening


class Viewer(AppServer):
    """An `AppServer` of the pages.

    Args:
        settings: where to listen and how hard to ask.
        connect_store: opens a connection that only reads; the store need not be up yet.
        health: the log side of the pipeline.
        otlp_grpc, otlp_http: where the receivers listen; the empty page tells people to send there.
        routes: probes, and what else of the program is on the same port and answered whatever the pages do.
        alerting: rules that are evaluated, and incidents.
        boards: the dashboards that it draws.
    """

    def __init__(
        self, settings: ViewerSettings, connect_store: Callable[[], Client], health: PipelineHealth, *,
        otlp_grpc: str = "http://127.0.0.1:4317", otlp_http: str = "http://127.0.0.1:4318",
        routes: Sequence[Route] = (), alerting: Alerting = Alerting(),  # noqa: B008 (frozen)
        boards: Sequence[BoardFile] = (),
    ) -> None:  # fmt: skip
        super().__init__(settings, self._pages, [route.path for route in routes])
        self._connect_store = connect_store
        self._health = health
        self._intake = app.Intake(otlp_grpc, otlp_http)
        self._routes = tuple(routes)
        self._alerting = alerting
        self._boards = tuple(boards)
        self._store: StoreReader | None = None

    def stop(self) -> None:
        """As `AppServer.stop`; closes the connections to the store, too."""
        super().stop()
        if self._store is not None:
            self._store.close()
            self._store = None

    def _pages(self) -> Starlette:
        self._store = StoreReader(
            self._connect_store,
            pool_size=self._settings.pool_size,
            query_timeout_s=self._settings.query_timeout_s,
            waiting_max=self._settings.waiting_max,
        )
        return app.build(
            self._settings, self._store, self._health, self._intake, self._routes, self._alerting, self._boards
        )


class _Server(uvicorn.Server):
    """uvicorn that lies still while nobody asks, and that makes room when there is no descriptor left."""

    def __init__(self, config: uvicorn.Config, connections: Open) -> None:
        super().__init__(config)
        self._connections = connections
        self._shed_at_s = self._tell_at_s = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._on_failure)
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(_BACKLOG)

    async def main_loop(self) -> None:
        # uvicorn looks ten times a second, at rest too; all it looks at is the Date header and whether to end.
        while not await self.on_tick(0):
            await asyncio.sleep(_TICK_S)

    def _on_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, OSError) or error.errno not in (errno.EMFILE, errno.ENFILE):
            loop.default_exception_handler(context)
            return
        # asyncio tells it of every connection that it would have accepted at once.
        if loop.time() >= self._shed_at_s:
            self._shed_at_s = loop.time() + _SHED_INTERVAL_S
            for waiting in self._connections.shed(_SHED_AT_ONCE):
                waiting.cut()
        if loop.time() >= self._tell_at_s:
            self._tell_at_s = loop.time() + _TELL_INTERVAL_S
            _log.warning("viewer: %s; connections that wait are closed", (error.strerror or "no descriptor").lower())
