"""Connections that attack the viewer, over real sockets: silent, slow, half-sent, unread. Probes and pages go on."""

from __future__ import annotations

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from dashboards.boards.file import provided
from dashboards.settings import ViewerSettings
from dashboards.viewer.serve import AppServer, Viewer
from processors.store_client import connect
from sluiceway.health import Readiness, routes
from tests.viewer_under_test import GivenHealth

_PROBES = ("/healthz", "/readyz", "/metrics")
_CHARTS = "/static/echarts/echarts.min.js"
# More than a kernel buffers of one connection.
_LARGE = b"x" * (16 << 20)


class _Exposition:
    def exposition(self) -> tuple[bytes, str]:
        return b"up 1\n", "text/plain"


@contextmanager
def _viewer(**settings: Any) -> Iterator[str]:
    """The viewer and its probes, while the store is away; `/boards` and `/alerts` need none."""
    probes = routes(_Exposition(), Readiness({}))
    viewer = Viewer(
        ViewerSettings(port=0, **settings), partial(connect, "http://127.0.0.1:1"), GivenHealth(), boards=provided(),
        routes=probes,
    )  # fmt: skip
    viewer.start()
    try:
        yield viewer.url
    finally:
        viewer.stop()


class _Held:
    """Pages that end when the test says so, and one that is larger than what a kernel buffers."""

    def __init__(self) -> None:
        self._released = threading.Event()
        self.entered = threading.Semaphore(0)

    def app(self) -> Starlette:
        async def held(_request: Request) -> Response:
            self.entered.release()
            await asyncio.get_running_loop().run_in_executor(None, self._released.wait)
            return PlainTextResponse("held")

        async def large(_request: Request) -> Response:
            self.entered.release()
            return Response(_LARGE)

        async def quick(_request: Request) -> Response:
            return PlainTextResponse("quick")

        return Starlette(routes=[
            Route("/held", held), Route("/large", large), Route("/quick", quick),
            *routes(_Exposition(), Readiness({})),
        ])  # fmt: skip

    def release(self) -> None:
        self._released.set()


@contextmanager
def _held(**settings: Any) -> Iterator[tuple[str, _Held]]:
    pages = _Held()
    server = AppServer(ViewerSettings(port=0, **settings), pages.app, exempt=_PROBES)
    server.start()
    try:
        yield server.url, pages
    finally:
        pages.release()
        server.stop()


def _status(url: str, path: str) -> int:
    """The status of a request on a connection of its own, its answer read whole."""
    at = urlsplit(url)
    connection = http.client.HTTPConnection(at.hostname or "", at.port or 0, timeout=30)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        answer = connection.getresponse()
        answer.read()
        return answer.status
    finally:
        connection.close()


def _connected(
    stack: ExitStack, url: str, sends: bytes = b"", *, host: str = "127.0.0.1", reads_bytes: int = 0
) -> socket.socket:
    opened = stack.enter_context(socket.socket())
    opened.settimeout(30)
    if reads_bytes:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, reads_bytes)
    opened.bind((host, 0))
    opened.connect(("127.0.0.1", urlsplit(url).port or 0))
    # The server may have closed it already, to make room for the next one.
    with suppress(ConnectionError, TimeoutError):
        opened.sendall(sends)
    return opened


def _read(opened: socket.socket) -> bytes:
    """All until the server closes."""
    parts = []
    try:
        while part := opened.recv(1 << 16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


_SHAPES: dict[str, bytes] = {
    "silent": b"",
    "half a head": b"GET /boards HTTP/1.1\r\nHost: localhost\r\nX-Half: ",
    "half a request line": b"GET /boa",
    "half a body": b"POST /boards HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nx",
    "half a chunk": b"POST /boards HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n64\r\nx",
    "idle after an answer": b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("connections", [256, 2000])
@pytest.mark.parametrize("shape", _SHAPES)
def test_probes_and_pages_are_answered_while_others_hold_connections(shape: str, connections: int) -> None:
    with _viewer() as url, ExitStack() as stack:
        for _ in range(connections):
            _connected(stack, url, _SHAPES[shape])

        answers = [(path, _status(url, path)) for path in (*_PROBES, "/boards", "/alerts", "/boards")]

    assert answers == [(path, 200) for path, _ in answers]


@pytest.mark.parametrize(("path", "connections"), [("/large", 40), ("/quick", 300)])
def test_probes_and_pages_are_answered_while_others_do_not_read(path: str, connections: int) -> None:
    with _held(max_pages=8) as (url, _), ExitStack() as stack:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        for _ in range(connections):
            _connected(stack, url, request, reads_bytes=4096)

        answers = [(probe, _status(url, probe)) for probe in (*_PROBES, "/quick", "/large")]

    assert answers == [(probe, 200) for probe, _ in answers]


def test_pages_over_their_bound_come_again_later_and_probes_do_not_wait_for_them() -> None:
    with _held(max_pages=4) as (url, pages), ExitStack() as stack:
        for _ in range(4):
            _connected(stack, url, b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(4):
            assert pages.entered.acquire(timeout=30)

        refused = _read(_connected(stack, url, b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n"))
        probes = [_status(url, path) for path in _PROBES]
        pages.release()

        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1\r\n" in refused
        assert refused.endswith(b"max_pages: too many pages at once")
        assert probes == [200, 200, 200]


def test_busy_connections_are_never_closed_to_make_room() -> None:
    with _held(max_pages=15, max_connections=32, max_connections_per_peer=16) as (url, pages), ExitStack() as stack:
        held = [_connected(stack, url, b"GET /held HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                for _ in range(15)]  # fmt: skip
        for _ in held:
            assert pages.entered.acquire(timeout=30)
        for _ in range(100):
            _connected(stack, url)

        assert [_status(url, path) for path in _PROBES] == [200, 200, 200]
        pages.release()

        assert [_read(each).endswith(b"held") for each in held] == [True] * 15


def test_one_peer_makes_room_out_of_its_own_connections() -> None:
    with _held(max_connections=64, max_connections_per_peer=32, max_pages=8) as (url, _), ExitStack() as stack:
        waits = _connected(stack, url)
        for _ in range(500):
            _connected(stack, url, host="127.0.0.2")
        assert _status(url, "/quick") == 200

        # Older than all of the other peer's, and there.
        waits.sendall(b"GET /quick HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")

        assert _read(waits).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("shape", "bound"), [
    ("silent", "header_timeout_s"), ("half a head", "header_timeout_s"), ("half a request line", "header_timeout_s"),
    ("half a body", "body_timeout_s"), ("half a chunk", "body_timeout_s"), ("idle after an answer", "idle_timeout_s"),
])  # fmt: skip
def test_each_kind_of_waiting_ends_at_its_own_bound(shape: str, bound: str) -> None:
    with _viewer(**{bound: 0.2}) as url, ExitStack() as stack:
        # Ends by itself, which the time-out of the socket would turn into an error.
        _read(_connected(stack, url, _SHAPES[shape]))


def test_a_head_that_comes_byte_by_byte_ends_at_the_bound_too() -> None:
    with _viewer(header_timeout_s=0.3) as url, ExitStack() as stack:
        slow = _connected(stack, url)
        ended = threading.Event()

        def trickle() -> None:
            with suppress(ConnectionError, TimeoutError):
                slow.sendall(b"GET /boards HTTP/1.1\r\nX: ")
                while not ended.wait(0.02):
                    slow.sendall(b"x")

        sending = threading.Thread(target=trickle)
        sending.start()
        answer = _read(slow)
        ended.set()
        sending.join()

    assert b"HTTP/1.1 200" not in answer


@pytest.mark.parametrize("trickles", [False, True])
def test_who_does_not_read_an_answer_is_cut_off_at_the_bound(trickles: bool) -> None:
    with _held(answer_timeout_s=0.5) as (url, pages), ExitStack() as stack:
        slow = _connected(stack, url, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n", reads_bytes=4096)
        assert pages.entered.acquire(timeout=30)
        if trickles:
            slow.recv(1)
        # A second one, after the first is gone, so that the test needs no time of its own.
        other = _connected(stack, url, b"GET /large HTTP/1.1\r\nHost: localhost\r\n\r\n", reads_bytes=4096)
        _until_closed(other)

        assert len(_read(slow)) < len(_LARGE)


def _until_closed(opened: socket.socket) -> None:
    """Waits for the reset without reading."""
    ended = threading.Event()
    while opened.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1 and not ended.wait(0.02):
        pass


@pytest.mark.parametrize("pieces", [1, 40])
def test_a_head_over_its_bound_is_refused_in_one_write_or_in_many(pieces: int) -> None:
    head = b"GET /boards HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 70_000 + b"\r\n\r\n"
    size = -(-len(head) // pieces)
    with _viewer() as url, ExitStack() as stack:
        opened = _connected(stack, url)
        with suppress(ConnectionError, TimeoutError):
            for start in range(0, len(head), size):
                opened.sendall(head[start : start + size])

        assert _read(opened).startswith(b"HTTP/1.1 431 ")


def test_a_body_is_refused_before_it_is_kept() -> None:
    with _viewer() as url, ExitStack() as stack:
        opened = _connected(stack, url)
        with suppress(ConnectionError, TimeoutError):
            opened.sendall(b"POST /boards HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n")
            opened.sendall(b"x" * 10_000_000)

        assert b"HTTP/1.1 200" not in _read(opened)


def test_pipelined_requests_are_bounded_and_answered_in_their_order() -> None:
    few = b"GET /quick HTTP/1.1\r\nHost: localhost\r\n\r\n" * 8 + b"GET /quick HTTP/1.0\r\nHost: localhost\r\n\r\n"
    many = b"GET /held HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    with _held() as (url, pages), ExitStack() as stack:
        assert _read(_connected(stack, url, few)).count(b"quick") == 9

        assert b"held" not in _read(_connected(stack, url, many))
        pages.release()


def test_threads_that_hang_hold_up_neither_life_nor_metrics() -> None:
    hangs = threading.Event()
    readiness = Readiness({"log": lambda: None if hangs.wait(30) else "hung"}, patience_s=0.1)

    def stuck(_request: Request) -> Response:
        hangs.wait(30)
        return PlainTextResponse("stuck")

    app = Starlette(routes=[Route("/stuck", stuck), *routes(_Exposition(), readiness)])
    server = AppServer(ViewerSettings(port=0), lambda: app, exempt=_PROBES)
    server.start()
    try:
        with ExitStack() as stack:
            # More than Starlette has threads for.
            for path in (b"/readyz", b"/stuck") * 60:
                _connected(stack, server.url, b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path)

            assert (_status(server.url, "/healthz"), _status(server.url, "/metrics")) == (200, 200)
            hangs.set()
    finally:
        hangs.set()
        server.stop()
