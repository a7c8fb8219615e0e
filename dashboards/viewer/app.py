"""The viewer's addresses: each page asks the store a few questions and writes HTML that reads without scripts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import jinja2
from markupsafe import Markup, escape
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from dashboards.alerts.durations import duration_s, written
from dashboards.alerts.notice import page_of
from dashboards.boards import page as board_page
from dashboards.boards.file import BoardFile
from dashboards.settings import ViewerSettings
from dashboards.store import StoreReader
from dashboards.viewer import alerts as alerts_page
from dashboards.viewer import assets, figures, pipeline, red, trace
from dashboards.viewer import service as service_page
from dashboards.viewer import services as services_page
from dashboards.viewer.alerts import SINCE, Alerting
from dashboards.viewer.health import PipelineHealth
from dashboards.viewer.window import RANGES, Window, WindowError, parse
from schemas.errors import OverloadedError, RetryableError, StoreUnavailableError
from schemas.shown import shown, shown_lines

# Nothing may be loaded from elsewhere and no inline script may run, so text that got through escaping stays text.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
REFRESH_CHOICES_S = (0, 5, 10, 30, 60)
Page = Callable[[Request], Awaitable[Response]]


def service_path(name: str) -> str:
    """The address of a service's page. Names that a browser would fold into the path travel as a parameter."""
    if name in ("", ".", ".."):
        return "/service?" + urlencode({"name": name})
    return "/service/" + quote(name, safe="")


def _finalized(value: object) -> object:
    """What a template writes: text of telemetry with nothing in it that turns or hides its neighbours."""
    return shown_lines(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _exact(value: str) -> Markup:
    """The value of a form's field, which comes back as it is."""
    return escape(value)


def _shown_values(value: Any) -> Any:
    """Options of a chart: the same for all text inside."""
    if isinstance(value, str):
        return shown(value)
    if isinstance(value, Mapping):
        return {_shown_values(name): _shown_values(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_shown_values(inner) for inner in value]
    return value


def _refresh_s(wanted: str, otherwise_s: int) -> int:
    """Seconds, or as Grafana writes it: 30s, 1m, 1h."""
    try:
        return duration_s(f"{wanted}s" if wanted.isdigit() else wanted)
    except ValueError:
        return otherwise_s


@dataclass(frozen=True, slots=True)
class Intake:
    """Endpoints of the OTLP receivers, as an exporter takes them."""

    grpc: str
    http: str


class Pages:
    """Renders the pages of one viewer. `intake` is where the empty page tells people to send OTLP."""

    def __init__(
        self, settings: ViewerSettings, store: StoreReader, health: PipelineHealth, intake: Intake, alerting: Alerting,
        boards: Sequence[BoardFile],
    ) -> None:  # fmt: skip
        self._settings = settings
        self._store = store
        self._health = health
        self._intake = intake
        self._alerting = alerting
        self._boards = {board.uid: board for board in boards}
        self._templates = jinja2.Environment(
            loader=jinja2.PackageLoader("dashboards.viewer"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=_finalized,
        )
        self._templates.filters.update(exact=_exact, shown_values=_shown_values)
        self._templates.globals.update(
            f=figures, service_path=service_path, ranges=RANGES, refresh_choices=REFRESH_CHOICES_S, State=red.State
        )
        self._templates.globals.update(
            alerts_firing=alerting.firing, runbook=alerting.runbook, page_of=page_of, written=written
        )

    async def services(self, request: Request) -> Response:
        """All services, the worst first."""
        window = _window(request)
        found = await red.services(self._store, window, self._settings)
        rows = services_page.rows(found)
        return self._page("services.html", request, window, title="Services", rows=rows, intake=self._intake)

    async def service(self, request: Request) -> Response:
        """One service: RED over time, versions, operations, traces."""
        window = _window(request)
        name = request.path_params.get("name", request.query_params.get("name", ""))
        view = await service_page.read(
            self._store, window, self._settings, name, request.query_params.get("traces", "")
        )
        return self._page("service.html", request, window, title=name or "(no name)", view=view)

    async def trace(self, request: Request) -> Response:
        """One trace as a waterfall."""
        trace_id = request.path_params["trace_id"].strip().lower()
        if not trace.TRACE_ID.fullmatch(trace_id):
            raise HTTPException(400, f"A trace id is 32 hexadecimal digits; got {trace_id[:80]!r}.")
        found = await trace.read(self._store, trace_id, limit=self._settings.spans_limit)
        if found is None:
            raise HTTPException(
                404, f"No span of trace {trace_id} is stored. It may be older than the retention, or not sent."
            )
        window = parse(request.query_params.get("from"), request.query_params.get("to"), time.time())
        return self._page(
            "trace.html", request, window, title=f"Trace {trace_id}", trace=found, bar_units=trace.BAR_UNITS
        )

    async def find_trace(self, request: Request) -> Response:
        """The trace-id field of every page leads here."""
        return RedirectResponse("/trace/" + quote(request.query_params.get("id", "").strip() or "-", safe=""), 303)

    async def pipeline(self, request: Request) -> Response:
        """The pipeline's own health."""
        window = _window(request)
        view = await pipeline.read(self._store, self._health, window)
        return self._page("pipeline.html", request, window, title="Pipeline", view=view)

    async def boards(self, request: Request) -> Response:
        """All dashboards."""
        window = _window(request)
        return self._page("boards.html", request, window, title="Dashboards", boards=list(self._boards.values()))

    async def board(self, request: Request) -> Response:
        """One dashboard file, at the address that it has in Grafana."""
        board = self._boards.get(request.path_params["uid"])
        if board is None:
            raise HTTPException(404, f"There is no dashboard {request.path_params['uid'][:80]!r}.")
        asked = {name: request.query_params.getlist(name) for name in request.query_params}
        window = parse(request.query_params.get("from", board.since), request.query_params.get("to"), time.time())
        view = await board_page.read(self._store, board, window, asked, self._settings)
        return self._page(
            "board.html", request, window, kept=view.kept, title=board.title, view=view, bar_units=trace.BAR_UNITS
        )

    async def alerts(self, request: Request) -> Response:
        """What fires, and incidents."""
        view = await alerts_page.read(self._alerting, request.query_params.get("since", ""))
        return self._page("alerts.html", request, _window(request), title="Alerts", view=view, since_choices=SINCE)

    def failure(self, request: Request, status: int, title: str, message: str, headers: Mapping[str, str]) -> Response:
        """A page that says what went wrong and keeps the way back."""
        window = parse(None, None, time.time())
        return self._page("failure.html", request, window, status=status, headers=headers, title=title, message=message)

    def _page(
        self, template: str, request: Request, window: Window, *,
        status: int = 200, headers: Mapping[str, str] | None = None, kept: Sequence[tuple[str, str]] = (),
        **context: Any,
    ) -> Response:  # fmt: skip
        wanted = request.query_params.get("refresh", "")
        refresh_s = _refresh_s(wanted, self._settings.refresh_s)
        of_pages = {"refresh": wanted} if wanted else {}
        own = (
            [("name", request.query_params["name"])]
            if request.url.path == "/service" and "name" in request.query_params
            else list(kept)
        )
        text = self._templates.get_template(template).render(
            window=window,
            path=request.url.path,
            # Of the page itself: its own links and forms keep them, those to other pages do not.
            kept=own,
            kept_query="".join(f"&{urlencode([pair])}" for pair in own),
            refresh_s=refresh_s if window.live else 0,
            refresh_wanted_s=refresh_s,
            # What links to other pages carry along.
            query="?" + urlencode({"from": window.from_text, "to": window.to_text, **of_pages}),
            **context,
        )
        return HTMLResponse(text, status, dict(headers or {}))


def build(
    settings: ViewerSettings,
    store: StoreReader,
    health: PipelineHealth,
    intake: Intake,
    routes: Sequence[BaseRoute] = (),
    alerting: Alerting = Alerting(),  # noqa: B008 (frozen)
    boards: Sequence[BoardFile] = (),
) -> Starlette:
    """The viewer as an ASGI application, with further routes of the program that serves it."""
    pages = Pages(settings, store, health, intake, alerting, boards)

    async def unavailable(request: Request, error: Exception) -> Response:
        retry_s = str(max(1, round(error.retry_after_s if isinstance(error, RetryableError) else 1)))
        # Refresh makes a page that was opened too early appear by itself, scripts or not.
        headers = {"Retry-After": retry_s, "Refresh": retry_s}
        return pages.failure(
            request, 503, "Not available just now", f"{error}. This page tries again by itself.", headers
        )

    async def bad_window(request: Request, error: Exception) -> Response:
        return pages.failure(request, 400, "Cannot read that time range", str(error), {})

    async def refused(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else "error"
        title = "Not found" if status == 404 else "Cannot show that"
        return pages.failure(request, status, title, "There is no such page." if detail == "Not Found" else detail, {})

    app = Starlette(
        routes=[
            *routes,
            Route("/", _guarded(pages.services)),
            Route("/service", _guarded(pages.service)),
            Route("/service/{name:path}", _guarded(pages.service)),
            Route("/trace", _guarded(pages.find_trace)),
            Route("/trace/{trace_id:path}", _guarded(pages.trace)),
            Route("/pipeline", _guarded(pages.pipeline)),
            Route("/alerts", _guarded(pages.alerts)),
            Route("/boards", _guarded(pages.boards)),
            # Grafana puts a title after the uid, which nobody reads.
            Route("/d/{uid}", _guarded(pages.board)),
            Route("/d/{uid}/{title:path}", _guarded(pages.board)),
            Mount("/static", StaticFiles(directory=assets.HERE / "static")),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=list(settings.allowed_hosts), www_redirect=False),
            Middleware(GZipMiddleware, minimum_size=2048, compresslevel=1),
        ],
        exception_handlers={
            StoreUnavailableError: unavailable,
            OverloadedError: unavailable,
            WindowError: bad_window,
            HTTPException: refused,
        },
    )
    app.add_middleware(_Headers)
    return app


class _Headers:
    """Puts the security headers on every answer; files of the charts may be kept by the browser, figures not."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(_HEADERS)
        if scope["path"].startswith("/static/"):
            headers["Cache-Control"] = "no-cache"

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    *((k.lower().encode(), v.encode()) for k, v in headers.items()),
                ]
            await send(message)

        await self._app(scope, receive, send_with_headers)


def _window(request: Request) -> Window:
    return parse(request.query_params.get("from"), request.query_params.get("to"), time.time())


def _guarded(page: Page) -> Page:
    """Bounds a page as a whole: its questions are bounded each, but they may wait in line."""

    async def bounded(request: Request) -> Response:
        try:
            async with asyncio.timeout(60):
                return await page(request)
        except TimeoutError as error:
            raise StoreUnavailableError("the store did not answer within 60 s", retry_after_s=5) from error

    return bounded
