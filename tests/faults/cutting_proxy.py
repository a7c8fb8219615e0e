"""A TCP proxy that does to a connection what networks do: cut it before or after the answer, hold it, refuse it.

It passes bytes on as they come and knows only where a message of HTTP ends; of any other protocol a request begins with
what the client sends after the server spoke. So it stands before a store as well as before a broker. A fault is armed
for the next requests that match and for as many of them as were asked for; all others pass.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

_CHUNK_BYTES = 64 * 1024
_HTTP = re.compile(rb"(HTTP/1|GET |POST |HEAD |PUT )")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)


class Fault(Enum):
    """What is done to a request."""

    CUT_ANSWER = auto()  # passed on; the whole answer is read, dropped, and the connection reset
    CUT_REQUEST = auto()  # the connections are reset once a part of the request was passed on
    DELAY = auto()  # passed on; the answer is held for a time
    ANSWER = auto()  # not passed on; the proxy answers by itself
    FREEZE = auto()  # nothing is passed on, either way, until `thaw`


@dataclass
class _Armed:
    fault: Fault
    left: int
    matches: Callable[[bytes], bool]
    seconds: float = 0.0
    answer: bytes = b""
    after_bytes: int = 0


@dataclass
class CuttingProxy:
    """Between a client and `target` (host, port) from `start` to `close`. Its methods are safe from any thread.

    Attributes:
        port: where clients connect to, on 127.0.0.1.
        passed: how many requests were passed on untouched.
        struck: first bytes of each request that met a fault, in order.
        dropped: the answers that CUT_ANSWER kept from clients, in order.
    """

    target: tuple[str, int]
    passed: int = 0
    struck: list[bytes] = field(default_factory=list)
    dropped: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[_Armed] = []
        self._refusing = False
        self._closed = False
        self._thawed = threading.Event()
        self._thawed.set()
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, name="cutting-proxy", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    @property
    def url(self) -> str:
        """The same for HTTP clients."""
        return f"http://127.0.0.1:{self.port}"

    def cut_answers(
        self, count: int = 1, matching: bytes = b"INSERT", when: Callable[[bytes], bool] = lambda _first: True
    ) -> None:
        """The next `count` requests with `matching` in their first bytes are carried out, and their answers lost.

        `when` is asked with the first bytes of each of them and may let it pass.
        """
        self._arm(_Armed(Fault.CUT_ANSWER, count, lambda first: matching in first and when(first)))

    def cut_requests(self, count: int = 1, after_bytes: int = 0, matching: bytes = b"INSERT") -> None:
        """The next `count` requests break off once at least `after_bytes` of each were passed on."""
        self._arm(_Armed(Fault.CUT_REQUEST, count, lambda first: matching in first, after_bytes=after_bytes))

    def delay_answers(self, seconds: float, count: int = 1, matching: bytes = b"INSERT") -> None:
        """The answers to the next `count` requests come `seconds` late."""
        self._arm(_Armed(Fault.DELAY, count, lambda first: matching in first, seconds))

    def answer(self, status: str, headers: str, body: str, count: int = 1, matching: bytes = b"INSERT") -> None:
        """The next `count` requests get this HTTP answer from the proxy: `status` as "503 Service Unavailable"."""
        text = f"HTTP/1.1 {status}\r\nContent-Length: {len(body.encode())}\r\n{headers}Connection: close\r\n\r\n{body}"
        self._arm(_Armed(Fault.ANSWER, count, lambda first: matching in first, answer=text.encode()))

    def freeze(self) -> None:
        """Pass nothing on, either way, until `thaw`: a peer that is there and does not move."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Pass on what was held and all that follows."""
        self._thawed.set()

    def refuse(self) -> None:
        """Reset all connections and every new one until `allow`."""
        with self._lock:
            self._refusing = True
            connections = list(self._open)
        for each in connections:
            _reset(each)

    def allow(self) -> None:
        """End `refuse` and forget the faults that are armed."""
        with self._lock:
            self._refusing = False
            self._armed.clear()

    @property
    def armed(self) -> int:
        """How many requests will still meet a fault."""
        with self._lock:
            return sum(each.left for each in self._armed)

    def close(self) -> None:
        """End everything."""
        self._closed = True
        self._thawed.set()
        # A thread that waits in accept is not woken by close alone.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)
        self.refuse()

    def _arm(self, armed: _Armed) -> None:
        with self._lock:
            self._armed.append(armed)

    def _fault_of(self, first: bytes) -> _Armed | None:
        with self._lock:
            for armed in self._armed:
                if armed.matches(first):
                    armed.left -= 1
                    if not armed.left:
                        self._armed.remove(armed)
                    self.struck.append(first[:1000])
                    return armed
            self.passed += 1
            return None

    def _accept(self) -> None:
        while not self._closed:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), name="cutting-proxy-relay", daemon=True).start()

    def _relay(self, client: socket.socket) -> None:
        with self._lock:
            refusing = self._refusing
        if refusing:
            _reset(client)
            return
        try:
            server = socket.create_connection(self.target, timeout=10)
        except OSError:
            _reset(client)
            return
        server.settimeout(None)
        with self._lock:
            self._open |= {client, server}
        connection = _Connection(self, client, server)
        try:
            connection.run()
        finally:
            with self._lock:
                self._open -= {client, server}
            _reset(client)
            _reset(server)


class _Connection:
    """One client's connection and ours to the server."""

    def __init__(self, proxy: CuttingProxy, client: socket.socket, server: socket.socket) -> None:
        self._proxy, self._client, self._server = proxy, client, server
        self._fault: _Armed | None = None
        self._request: _Extent | None = None

    def run(self) -> None:
        answers = threading.Thread(target=self._answers, name="cutting-proxy-answers", daemon=True)
        answers.start()
        try:
            self._requests()
        finally:
            _reset(self._client)
            _reset(self._server)
            answers.join(10)

    def _requests(self) -> None:
        passed_bytes = 0
        while data := _receive(self._client):
            if self._request is None or self._request.complete:
                self._request = _Extent()
                passed_bytes = 0
                self._fault = self._proxy._fault_of(data)
            self._request.add(data)
            fault = self._fault
            if fault is not None and fault.fault is Fault.ANSWER:
                self._answer_alone(self._request, fault.answer)
                return
            self._proxy._thawed.wait()
            try:
                self._server.sendall(data)
            except OSError:
                return
            passed_bytes += len(data)
            if fault is not None and fault.fault is Fault.CUT_REQUEST and passed_bytes >= fault.after_bytes:
                return

    def _answer_alone(self, request: _Extent, answer: bytes) -> None:
        # Read to its end first: an answer before that is lost to a client that is still sending.
        while not request.complete:
            data = _receive(self._client)
            if not data:
                return
            request.add(data)
        try:
            self._client.sendall(answer)
            self._client.shutdown(socket.SHUT_WR)
        except OSError:
            return
        while _receive(self._client):
            pass

    def _answers(self) -> None:
        answer, kept = _Extent(), b""
        while data := _receive(self._server):
            self._proxy._thawed.wait()
            fault = self._fault
            if fault is not None and fault.fault is Fault.CUT_ANSWER:
                # Headers of progress come before the work is done; only a complete answer says that it is.
                kept += data
                answer.add(data)
                if answer.complete:
                    self._proxy.dropped.append(kept)
                    break
                continue
            if fault is not None and fault.fault is Fault.DELAY:
                time.sleep(fault.seconds)
                self._fault = None
            request = self._request
            if request is not None and not request.is_http:
                request.complete = True
            try:
                self._client.sendall(data)
            except OSError:
                break
        _reset(self._client)
        _reset(self._server)


class _Extent:
    """How far one message has come. What is no HTTP is complete when the other side answers."""

    def __init__(self) -> None:
        self.complete = False
        self.is_http = True
        self._head = b""
        self._left: int | None = None
        self._tail = b""

    def add(self, data: bytes) -> None:
        if self._left is None and not self._tail:
            self._head += data
            if not _HTTP.match(self._head):
                self.is_http = False
                return
            head, found, data = self._head.partition(b"\r\n\r\n")
            if not found:
                return
            head += b"\r\n"
            length = _LENGTH.search(head)
            if not _CHUNKED.search(head):
                self._left = int(length[1]) if length else 0
        if self._left is not None:
            self._left -= len(data)
            self.complete = self._left <= 0
        else:
            self._tail = (self._tail + data)[-5:] or b" "
            self.complete = self._tail == b"0\r\n\r\n"


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(_CHUNK_BYTES)
    except OSError:
        return b""


def _reset(connection: socket.socket) -> None:
    """End a connection as a dead peer does, and wake whoever waits on it."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
    connection.close()


@contextmanager
def cutting_proxy(host: str, port: int) -> Iterator[CuttingProxy]:
    """A proxy in front of `host`:`port` for the length of a test."""
    proxy = CuttingProxy((host, port))
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.close()
