"""The viewer, or probes alone, as a part of a larger program: an HTTP server on a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Sequence

import uvicorn
from clickhouse_connect.driver.client import Client
from starlette.applications import Starlette
from starlette.routing import BaseRoute

from dashboards.boards.file import BoardFile
from dashboards.settings import ViewerSettings
from dashboards.store import StoreReader
from dashboards.viewer import app
from dashboards.viewer.alerts import Alerting
from dashboards.viewer.health import PipelineHealth
from schemas.errors import ConfigurationError, SluicewayError

# How long a stop may go unnoticed, and how old a Date header may be, seconds.
_TICK_S = 0.4


class AppServer:
    """Serves one application from `start` to `stop`; may be started again. Takes no signals: the program stops it.

    Args:
        settings: where to listen, and whether at all.
        build: makes the application, at every start.
    """

    def __init__(self, settings: ViewerSettings, build: Callable[[], Starlette]) -> None:
        self._settings = settings
        self._build = build
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
        listening = self._listen()
        try:
            config = uvicorn.Config(
                self._build(),
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                ws="none",
                # asyncio's own loop: uvloop would be one more native loop in the process for pages of a few kilobytes.
                loop="asyncio",
                limit_concurrency=256,
                timeout_graceful_shutdown=3,
            )
        except BaseException:
            listening.close()
            raise
        self._server = _Server(config)
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
        store_name: names the store in errors.
        health: the log side of the pipeline.
        otlp_grpc, otlp_http: where the receivers listen; the empty page tells people to send there.
        routes: further routes of the program on the same port, such as probes.
        alerting: rules that are evaluated, and incidents.
        boards: the dashboards that it draws.
    """

    def __init__(
        self, settings: ViewerSettings, connect_store: Callable[[], Client], health: PipelineHealth, *,
        store_name: str = "the configured address",
        otlp_grpc: str = "http://127.0.0.1:4317", otlp_http: str = "http://127.0.0.1:4318",
        routes: Sequence[BaseRoute] = (), alerting: Alerting = Alerting(),  # noqa: B008 (frozen)
        boards: Sequence[BoardFile] = (),
    ) -> None:  # fmt: skip
        super().__init__(settings, self._pages)
        self._connect_store = connect_store
        self._store_name = store_name
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
            where=self._store_name,
            pool_size=self._settings.pool_size,
            query_timeout_s=self._settings.query_timeout_s,
            waiting_max=self._settings.waiting_max,
        )
        return app.build(
            self._settings, self._store, self._health, self._intake, self._routes, self._alerting, self._boards
        )


class _Server(uvicorn.Server):
    """uvicorn that lies still while nobody asks."""

    async def main_loop(self) -> None:
        # uvicorn looks ten times a second, at rest too; all it looks at is the Date header and whether to end.
        while not await self.on_tick(0):
            await asyncio.sleep(_TICK_S)
