"""HTTP requests by the thousand on kept-alive, pipelined connections of the real port."""

from __future__ import annotations

import random
import re
import socket
import time
from collections import deque
from pathlib import Path

from ingest.status import JSON, PROTOBUF
from schemas.signals import NAMES, Signal
from tests.faults.fuzz_inputs import Inputs
from tests.faults.fuzz_oracle import (
    IMPATIENT,
    PATIENCE_S,
    SETTINGS,
    Expected,
    KeptLog,
    answered,
    must_be_faultless,
    must_be_idle,
)
from tests.otlp_requests import mutate
from tests.receivers_under_test import Served, serving

CONNECTIONS = 96
REQUESTS = 32
REQUESTS_EDITED = 8
# After so many turns of all connections the log is held against what was answered.
ROUND = 4
# How long a broken stream may wait for what never comes before the client hangs up.
HANG_UP_S = 0.2
ACCEPTABLE = {100, 200, 400, 404, 405, 413, 415, 431, 503}
_STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [^\r\n]*\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length: ([0-9]+)\r\n", re.IGNORECASE)
Sent = tuple[Signal, str, str, bytes, str]
HEADERS = (
    b"Origin: http://localhost:3000\r\n",
    b"Origin: https://elsewhere.example\r\n",
    b"Expect: 100-continue\r\n",
    b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n",
    b"Content-Type: text/plain\r\n",
    b"User-Agent: " + b"a" * 300 + b"\r\n",
)
LAST = b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"  # noqa: E501


def body(made: Inputs) -> tuple[Signal, str, str, bytes]:
    """(signal, media, encoding, body) of a request whose body was edited."""
    chance = made.rng.random()
    if chance < 0.65:
        signal, content = made.message()
        return signal, PROTOBUF, "", content
    if chance < 0.85:
        signal, content = made.json()
        return signal, JSON, "", content
    signal, encoding, content = made.compressed()
    return signal, PROTOBUF, encoding, content


def framed(signal: Signal, media: str, encoding: str, content: bytes, tenant: str, *, chunked: bool = False) -> bytes:
    head = f"POST {NAMES[signal].http_path} HTTP/1.1\r\nHost: x\r\nContent-Type: {media}\r\n"
    head += f"Content-Encoding: {encoding}\r\n" if encoding else ""
    head += f"x-tenant-id: {tenant}\r\n" if tenant else ""
    if not chunked:
        return f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
    half = len(content) // 2
    parts = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (content[:half], content[half:]) if part)
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + parts + b"0\r\n\r\n"


def stream(made: Inputs, *, requests: int, edited: bool) -> bytes:
    """Pipelined requests, the last of which ends the connection; when `edited`, some of their bytes are not HTTP's."""
    rng = made.rng
    parts: list[bytes] = []
    for _ in range(requests):
        request = framed(*body(made), made.tenant(), chunked=rng.random() < 0.3)
        if edited and rng.random() < 0.3:
            request = request.replace(b"Host: x\r\n", b"Host: x\r\n" + rng.choice(HEADERS), 1)
        if edited and rng.random() < 0.3:
            head = request.index(b"\r\n\r\n") + 4
            request = mutate(rng, request[:head]) + request[head:] if rng.random() < 0.7 else mutate(rng, request)
        parts.append(request)
    return b"".join(parts) + LAST


def codes(received: bytes) -> list[int]:
    """The codes of all answers, each of which must be whole HTTP; the last may be cut where the client hung up."""
    found: list[int] = []
    at = 0
    while at < len(received):
        status = _STATUS.match(received, at)
        assert status, received[at : at + 200]
        code = int(status[1])
        assert code in ACCEPTABLE, received[at : at + 500]
        found.append(code)
        end = received.find(b"\r\n\r\n", at)
        if end < 0:
            break
        length = _LENGTH.search(received, at, end + 2)
        assert length or code == 100, received[at:end]
        at = end + 4 + (int(length[1]) if length else 0)
    return found


def http_requests(rng: random.Random, inputs: int, folder: Path) -> int:
    """Whole requests with edited bodies on the real port: each answered as it must be, and kept if it was accepted."""
    log = KeptLog(folder)
    made = Inputs(rng)
    expected = Expected()
    sent = 0
    try:
        with serving(log.writer, **SETTINGS.model_dump()) as served:
            while sent < inputs:
                under_way: deque[tuple[socket.socket, list[Sent]]] = deque()
                for _ in range(min(ROUND * CONNECTIONS, -(-(inputs - sent) // REQUESTS))):
                    if len(under_way) == CONNECTIONS:
                        _finished(*under_way.popleft(), expected)
                    under_way.append(_opened(served, made))
                    sent += REQUESTS
                while under_way:
                    _finished(*under_way.popleft(), expected)
                must_be_idle(served.receivers.tally)
                log.must_hold(expected)
                must_be_faultless(served.receivers.tally)
    finally:
        log.close()
    return sent


def _opened(served: Served, made: Inputs) -> tuple[socket.socket, list[Sent]]:
    requests: list[Sent] = [(*body(made), made.tenant()) for _ in range(REQUESTS)]
    data = b"".join(framed(*request, chunked=made.rng.random() < 0.3) for request in requests)
    return connected(served, data + LAST), requests


def connected(served: Served, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=PATIENCE_S)
    connection.sendall(data)
    return connection


def _finished(connection: socket.socket, requests: list[Sent], expected: Expected) -> None:
    with connection:
        received = to_the_end(connection)
    found = codes(received)
    assert len(found) == len(requests) + 1
    for (signal, media, encoding, content, tenant), code in zip(requests, found[:-1], strict=True):
        wanted, verdict = answered(signal, media, encoding, content, tenant)
        assert code == wanted, (code, wanted, media, encoding, tenant, content.hex())
        if verdict is not None:
            expected.keep(signal, tenant, verdict)


def to_the_end(connection: socket.socket) -> bytes:
    """All that the server says until it closes, which it must."""
    parts: list[bytes] = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def http_streams(rng: random.Random, inputs: int, folder: Path) -> int:
    """Edited byte streams on the real port; returns how many requests in them were answered."""
    log = KeptLog(folder)
    made = Inputs(rng)
    answers = 0
    try:
        with serving(log.writer, **IMPATIENT.model_dump()) as served:
            while answers < inputs:
                under_way: deque[tuple[float, socket.socket]] = deque()
                for _ in range(min(ROUND * CONNECTIONS, -(-(inputs - answers) // REQUESTS_EDITED))):
                    if len(under_way) == CONNECTIONS:
                        answers += _hung_up(*under_way.popleft(), leaves=rng.random() > 0.002)
                    data = stream(made, requests=REQUESTS_EDITED, edited=rng.random() < 0.8)
                    under_way.append((time.monotonic(), connected(served, data)))
                while under_way:
                    answers += _hung_up(*under_way.popleft(), leaves=True)
                log.must_balance(served.receivers.tally)
    finally:
        log.close()
    return answers


def _hung_up(opened_at: float, connection: socket.socket, *, leaves: bool) -> int:
    """How many requests were answered, at least 1, before the server ends the connection, or the client `leaves`."""
    received: list[bytes] = []
    with connection:
        if leaves:
            connection.settimeout(max(0.001, opened_at + HANG_UP_S - time.monotonic()))
            try:
                while part := connection.recv(65536):
                    received.append(part)
            except TimeoutError:
                connection.shutdown(socket.SHUT_WR)
            except ConnectionResetError:
                pass
        connection.settimeout(PATIENCE_S)
        received.append(to_the_end(connection))
    return max(1, len(codes(b"".join(received))))
