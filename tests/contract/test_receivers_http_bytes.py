"""Raw bytes on the HTTP port: what is no HTTP, what is slow, what never ends; answered or closed, never stuck."""

from __future__ import annotations

import logging
import socket
import struct
import time
from collections.abc import Iterator

import pytest

from schemas.signals import Signal
from tests.memory_log import MemoryLog
from tests.receivers_under_test import PROTOBUF, Served, sample, serving

HEAD = b"POST /v1/logs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-protobuf\r\n"
CLOSE = b"Connection: close\r\n"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(max_body_bytes=64 * 1024) as running:
        yield running


@pytest.fixture(scope="module")
def impatient() -> Iterator[Served]:
    """For what the server must end by itself; on a slow machine it would refuse honest requests."""
    with serving(header_timeout_s=0.5, body_timeout_s=0.5, idle_timeout_s=1.0) as running:
        yield running


def _codes(answer: bytes) -> list[int]:
    """The status codes of all responses in `answer`."""
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),  # a TLS client
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),  # a gRPC client
        (b"GARBAGE\r\n\r\n", 400),
        (b"POST /v1/logs HTTP/9.9\r\n\r\n", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (HEAD + b"Content-Length: 99999999999999999999999\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", 400),
        (HEAD + b"X-Null: a\x00b\r\n\r\n", 400),
        (b"POST http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (HEAD + b"X-Long: " + b"a" * 200_000, 431),
        (HEAD + b"X-A: b\r\n" * 20_000, 431),
        (b"POST /" + b"a" * 200_000, 431),
    ],
)
def test_bytes_that_are_no_request_are_refused_and_the_connection_is_closed(
    served: Served, data: bytes, code: int
) -> None:
    assert _codes(served.send_raw(data)) == [code]


HEAD_BYTES = 64 * 1024
PATHS = [b"/v1/traces", b"/v1/metrics", b"/v1/logs", b"/v1/profiles", b"/", b"*"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", [b"POST", b"GET", b"OPTIONS", b"DELETE"])
@pytest.mark.parametrize(
    "hosts", [[], [b"a", b"a"], [b"a", b"b"], [b"", b"a"], [b"a b"], [b"a/b"], [b"a@b"], [b"\xff"], [b"a\\b"]]
)
def test_a_request_of_http_1_1_names_one_host(served: Served, path: bytes, method: bytes, hosts: list[bytes]) -> None:
    lines = b"".join(b"Host: " + host + b"\r\n" for host in hosts)
    head = b" HTTP/1.1\r\nContent-Length: 0\r\nContent-Type: application/json\r\n" + CLOSE
    answer = served.send_raw(method + b" " + path + head + lines + b"\r\n")
    assert _codes(answer) == [400]
    named = served.send_raw(method + b" " + path + head + b"Host: [::1]:4318\r\n\r\n")
    assert b"host:" not in named


def test_a_request_without_host_is_refused_behind_an_honest_one_and_http_1_0_needs_none(served: Served) -> None:
    honest = HEAD + b"Content-Length: 0\r\n\r\n"
    nameless = b"POST /v1/logs HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    assert _codes(served.send_raw(honest + nameless + honest)) == [200, 400]
    assert _codes(served.send_raw(nameless.replace(b"1.1", b"1.0"))) == [200]


def _head_of(size_bytes: int, kind: str) -> bytes:
    """A request with an empty body whose head has exactly `size_bytes`."""
    head = b"POST /v1/logs%b HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n%b\r\n"
    if kind == "target":
        return head % (b"?" + b"a" * (size_bytes - len(head) + 3), b"")
    filler = size_bytes - len(head) + 4
    if kind == "value":
        return head % (b"", b"X-A: " + b"a" * (filler - 7) + b"\r\n")
    if kind == "spaces":
        return head % (b"", b"X-A:" + b" " * (filler - 7) + b"a\r\n")
    lines, rest = divmod(filler, 8)
    return head % (b"", b"X-A: b\r\n" * (lines - 1) + b"X-A: b" + b"b" * rest + b"\r\n")


@pytest.mark.parametrize("kind", ["target", "value", "spaces", "lines"])
@pytest.mark.parametrize("pieces", [1, 2, 70])
@pytest.mark.parametrize("size_bytes", [HEAD_BYTES, HEAD_BYTES + 1, 100_000, 200_000])
def test_a_head_over_its_bound_is_refused_however_it_is_written(
    served: Served, size_bytes: int, pieces: int, kind: str
) -> None:
    data = _head_of(size_bytes, kind)
    assert len(data) == size_bytes
    with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for at in range(0, size_bytes, -(-size_bytes // pieces)):
                connection.sendall(data[at : at - (-size_bytes // pieces)])
        except OSError:
            pass
        code = _codes(connection.recv(65536))
    assert code == ([200] if size_bytes <= HEAD_BYTES else [431])


@pytest.mark.parametrize("kind", ["target", "value", "lines"])
def test_a_long_head_behind_another_request_is_refused_in_its_turn(served: Served, kind: str) -> None:
    good = HEAD + b"Content-Length: 0\r\n\r\n"
    assert _codes(served.send_raw(good + _head_of(HEAD_BYTES + 16384, kind) + good)) == [200, 431]


def test_a_length_over_the_bound_is_refused_before_the_body_is_sent(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000000\r\n\r\n")
        assert _codes(connection.recv(65536)) == [413]


def test_a_client_that_expects_100_is_told_to_go_on(served: Served) -> None:
    body = sample(Signal.LOGS)
    with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
        connection.sendall(HEAD + CLOSE + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert _codes(connection.recv(65536)) == [100]
        connection.sendall(body)
        assert _codes(connection.recv(65536)) == [200]


def test_a_client_that_expects_100_for_what_will_be_refused_is_refused_at_once(served: Served) -> None:
    answer = served.send_raw(HEAD + b"Expect: 100-continue\r\nContent-Length: 9999999\r\n\r\n")
    assert _codes(answer) == [413]
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"POST /v1/lo",
        HEAD,
        HEAD + b"X-Slow: ",
    ],
)
def test_a_head_that_does_not_end_is_closed_after_its_time(impatient: Served, data: bytes) -> None:
    assert impatient.send_raw(data) == b""


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_a_body_that_does_not_end_is_pushed_back_after_its_time_then_closed(impatient: Served, framing: bytes) -> None:
    answer = impatient.send_raw(HEAD + framing)
    assert _codes(answer) == [503]
    assert b"retry-after: 1" in answer
    assert b"body_timeout_s" in answer


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"]
)
def test_a_body_that_is_cut_off_appends_nothing_and_frees_its_place(served: Served, framing: bytes) -> None:
    before = len(served.log.entries)
    served.send_raw(HEAD + framing, end=True)
    admission = served.receivers.tally.admission
    deadline = time.monotonic() + 10
    while admission.requests and time.monotonic() < deadline:
        time.sleep(0.01)
    assert (admission.requests, admission.in_flight_bytes, len(served.log.entries)) == (0, 0, before)


def test_a_chunked_body_over_the_bound_is_refused_and_an_endless_one_is_cut(served: Served) -> None:
    chunk = b"2000\r\n" + b"x" * 0x2000 + b"\r\n"
    with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 9)
        assert _codes(connection.recv(65536)) == [413]
        with pytest.raises(OSError, match=r"reset|Broken pipe"):
            connection.sendall(chunk * 10_000)


@pytest.mark.parametrize(
    "endless",
    [
        b"1;" + b"e" * 8000,  # a chunk extension
        b"0\r\n" + b"X-Trailer: a\r\n" * 8000,
        b"0\r\nX-Trailer: " + b"a" * 8000,
    ],
)
def test_endless_chunk_framing_and_trailers_are_refused(served: Served, endless: bytes) -> None:
    filler = b"e" * 65536
    with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + endless)
        sent = 0
        try:
            while sent < 64 * 1024 * 1024:
                sent += connection.send(filler)
        except OSError:
            pass
    assert sent < 64 * 1024 * 1024


@pytest.mark.parametrize("trailer", [b"Content-Type: text/plain", b"X-Tenant-Id: other", b"X-Tenant-Id: a b"])
def test_trailers_do_not_change_what_the_head_said(served: Served, trailer: bytes) -> None:
    body = sample(Signal.LOGS)
    chunked = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n" + trailer + b"\r\n\r\n"
    assert _codes(served.send_raw(HEAD + CLOSE + b"X-Tenant-Id: shop\r\n" + chunked)) == [200]
    assert (served.log.entries[-1].tenant, served.log.entries[-1].value) == ("shop", body)


def test_a_path_with_a_slash_too_many_is_not_found_rather_than_redirected(served: Served) -> None:
    request = HEAD.replace(b"/v1/logs", b"/v1/logs/").replace(b"localhost", b"elsewhere.example")
    assert _codes(served.send_raw(request + CLOSE + b"Content-Length: 0\r\n\r\n")) == [404]


def test_one_byte_chunks_are_honest_traffic(served: Served) -> None:
    body = sample(Signal.LOGS)
    assert served.post(Signal.LOGS, iter([bytes([byte]) for byte in body])).status == 200
    assert served.log.entries[-1].value == body


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    good = HEAD + b"Content-Length: 0\r\n\r\n"
    bad = HEAD + b"Content-Length: 2\r\n\r\n\x0a\xff"
    last = HEAD + CLOSE + b"Content-Length: 0\r\n\r\n"
    assert _codes(served.send_raw(good + bad + good + last)) == [200, 400, 200, 200]


def test_a_connection_serves_many_requests_of_any_size(served: Served) -> None:
    body = sample(Signal.LOGS)
    large = body * (60_000 // len(body))
    framed = b"".join(HEAD + b"Content-Length: %d\r\n\r\n" % len(part) + part for part in (body, large, body, large))
    assert _codes(served.send_raw(framed + HEAD + CLOSE + b"Content-Length: 0\r\n\r\n")) == [200] * 5


def test_what_is_no_http_is_refused_after_the_requests_before_it_are_answered() -> None:
    log = MemoryLog()
    body = sample(Signal.LOGS)
    good = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with serving(log) as served:
        log.gate.clear()
        with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
            connection.sendall(good * 2 + b"GARBAGE\r\n\r\n" + good)
            assert log.entered.wait(20)
            assert served.post(Signal.LOGS, b"{}", "application/json").status == 200
            log.gate.set()
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert _codes(answer) == [200, 200, 400]
    assert sum(entry.value.count(body) for entry in log.entries) == 2


def test_the_time_for_a_head_does_not_run_while_the_request_before_is_served() -> None:
    log = MemoryLog()
    body = sample(Signal.LOGS)
    good = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
    with serving(log, header_timeout_s=1.0) as served:
        log.gate.clear()
        with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
            connection.sendall(good)
            assert log.entered.wait(20)
            connection.sendall(HEAD)
            time.sleep(1.5)
            log.gate.set()
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert _codes(answer) == [200]


def test_a_client_that_leaves_before_its_pipelined_answers_breaks_nothing(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    with serving(log) as served:
        log.gate.clear()
        body = sample(Signal.LOGS)
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body
        with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
            connection.sendall(request * 2)
            assert log.entered.wait(20)
        served.post(Signal.LOGS, b"{}", "application/json")
        log.gate.set()
        assert served.post(Signal.LOGS, body).status == 200
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAB\r\n"


def _framed(body: bytes, framing: str) -> bytes:
    if framing == "length":
        return b"Content-Length: %d\r\n\r\n" % len(body) + body
    return b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n"


@pytest.mark.parametrize("framing", ["length", "chunked"])
@pytest.mark.parametrize("pause_at", [0, 1, 100])
def test_a_request_that_asks_for_http2_is_served_whole_and_so_is_the_next(
    served: Served, framing: str, pause_at: int
) -> None:
    bodies = [sample(Signal.LOGS, seed) for seed in (21, 22)]
    first = HEAD + UPGRADE + _framed(bodies[0], framing)
    cut = len(first) - pause_at
    with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
        connection.sendall(first[:cut])
        time.sleep(0.1)
        connection.sendall(first[cut:])
        assert _codes(connection.recv(65536)) == [200]
        assert served.log.entries[-1].value == bodies[0]
        connection.sendall(HEAD + CLOSE + _framed(bodies[1], framing))
        assert _codes(connection.recv(65536)) == [200]
        assert served.log.entries[-1].value == bodies[1]


def test_a_request_that_asks_for_an_upgrade_and_breaks_off_is_not_acknowledged(impatient: Served) -> None:
    before = len(impatient.log.entries)
    answer = impatient.send_raw(HEAD + UPGRADE + b"Content-Length: 100\r\n\r\nabc")
    assert _codes(answer) == [503]
    assert len(impatient.log.entries) == before


@pytest.mark.parametrize(
    "head", [b"CONNECT localhost:4318 HTTP/1.1\r\nHost: x\r\n\r\n", b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n"]
)
def test_tunnels_and_upgrades_elsewhere_are_refused(impatient: Served, head: bytes) -> None:
    assert _codes(impatient.send_raw(head))[0] in (400, 404, 405)


def test_an_idle_connection_is_closed_after_its_time(impatient: Served) -> None:
    assert _codes(impatient.send_raw(HEAD + b"Content-Length: 0\r\n\r\n")) == [200]


@pytest.mark.parametrize("bound", ["max_connections", "max_connections_per_peer"])
def test_connections_over_the_bound_are_refused_with_a_hint_while_all_the_others_are_served(bound: str) -> None:
    log = MemoryLog()
    body = sample(Signal.LOGS)
    with serving(log, **{bound: 1}) as served:
        log.gate.clear()
        with socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20) as connection:
            connection.sendall(HEAD + CLOSE + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            assert log.entered.wait(20)
            answer = served.send_raw(b"")
            assert _codes(answer) == [503]
            assert b"Retry-After: 1" in answer
            log.gate.set()
            assert _codes(connection.recv(65536)) == [200]


def test_clients_that_reset_in_the_middle_leave_the_receiver_serving(served: Served) -> None:
    for data in (b"", HEAD, HEAD + b"Content-Length: 99\r\n\r\nx", HEAD + b"Content-Length: 0\r\n\r\n") * 10:
        connection = socket.create_connection(("127.0.0.1", served.receivers.http_port), timeout=20)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(data)
        connection.close()
    assert served.post(Signal.LOGS, sample(Signal.LOGS), PROTOBUF).status == 200
