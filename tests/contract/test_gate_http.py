"""The store's public HTTP port over raw requests: whom the gate lets in, as whom, with what, and how many at a time."""

from __future__ import annotations

import base64
import contextlib
import gzip
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from sluiceway.embedded.backend import SECRET_HEADER, Backend
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.embedded.users import READERS, WRITER

TIMEOUT_S = 30.0
ENDLESS = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"


def port(store: EmbeddedStore) -> int:
    return int(store.url.rsplit(":", 1)[1])


def backend(store: EmbeddedStore) -> Backend:
    found = Backend.read(StoreFolder(store.folder).backend)
    assert found is not None
    return found


def ask(
    number: int, statement: str = "SELECT currentUser()", *, method: str = "POST", path: str = "/", **fields: str
) -> tuple[int, str, dict[str, str]]:
    """Status, text and lower-case header fields of the answer; `Host` and others by `fields`, with _ for -."""
    connection = http.client.HTTPConnection("127.0.0.1", number, timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        headers = {name.replace("_", "-"): value for name, value in fields.items()}
        connection.request(method, path, body=statement.encode() if method == "POST" else None, headers=headers)
        answer = connection.getresponse()
        text = answer.read().decode("utf-8", "replace")
        return answer.status, text, {name.lower(): value for name, value in answer.getheaders()}


def raw(number: int, request: bytes) -> bytes:
    """The first bytes of the answer."""
    with socket.create_connection(("127.0.0.1", number), timeout=TIMEOUT_S) as connection:
        connection.sendall(request)
        return connection.recv(65536)


def wait_until(reached: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not reached():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_whoever_names_no_user_reads_as_the_reader(store: EmbeddedStore) -> None:
    basic = "Basic " + base64.b64encode(b"default:").decode()
    for fields in ({}, {"X_ClickHouse_User": "default"}, {"Authorization": basic}):
        assert ask(port(store), **fields)[:2] == (200, "reader\n")
    assert ask(port(store), path="/?user=default&password=")[:2] == (200, "reader\n")
    assert ask(port(store), method="GET", path="/?query=SELECT+1")[:2] == (200, "1\n")
    # The URL's part comes first, as with the engine.
    assert ask(port(store), "1 + 1", path="/?query=SELECT")[:2] == (200, "2\n")
    assert ask(port(store), "", method="POST")[:2] == (200, "Ok.\n")
    assert ask(port(store), method="GET", path="/ping")[:2] == (200, "Ok.\n")
    assert ask(port(store), method="HEAD", path="/?query=SELECT+1")[0] == 200


def test_a_user_with_a_password_is_the_engines_to_judge(store: EmbeddedStore) -> None:
    login = {"X_ClickHouse_User": WRITER, "X_ClickHouse_Key": store.writer_password}
    assert ask(port(store), **login)[:2] == (200, f"{WRITER}\n")
    for user in (WRITER, *READERS, "pipeline", "nobody"):
        status, text, fields = ask(port(store), X_ClickHouse_User=user, X_ClickHouse_Key="guess")
        assert (status, fields["x-clickhouse-exception-code"]) == (403, "516"), text


@pytest.mark.parametrize(
    "fields",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:8080"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Mode": "no-cors"},
        {"Referer": "http://evil.example/"},
        {"User_Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"},
        {"Host": "evil.example"},
        {"Host": "evil.example:8123"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "localhost@evil.example"},
        {"Host": "evil.example#localhost"},
        {"Host": "169.254.169.254"},
        {"Host": "0.0.0.0"},  # noqa: S104
        {"Host": ""},
        {"Host": "[::1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("as_writer", [False, True])
def test_nothing_that_a_page_may_send_is_served(store: EmbeddedStore, fields: dict[str, str], as_writer: bool) -> None:
    login = {"X_ClickHouse_User": WRITER, "X_ClickHouse_Key": store.writer_password} if as_writer else {}
    for method, path in (("GET", "/?query=SELECT+1"), ("POST", "/"), ("GET", "/ping"), ("OPTIONS", "/")):
        status, text, answered = ask(port(store), "SELECT 1", method=method, path=path, **login, **fields)
        assert status in {400, 403}, (method, text)
        assert not [name for name in answered if name.startswith("access-control")]


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:8123", "127.0.0.1", "127.0.0.2:1", "[::1]:8123", "[::1]"])
def test_the_machines_own_names_are_served(store: EmbeddedStore, host: str) -> None:
    assert ask(port(store), Host=host)[0] == 200


def test_no_answer_invites_other_origins(store: EmbeddedStore) -> None:
    for statement in ("SELECT 1", "SELECT nope"):
        fields = ask(port(store), statement)[2]
        assert not [name for name in fields if name.startswith("access-control")]
        assert fields["cross-origin-resource-policy"] == "same-origin"


@pytest.mark.parametrize(
    "path", ["/play", "/dashboard", "/binary", "/merges", "/jemalloc", "/metrics", "/replicas_status", "/webterminal",
             "//", "/ping/", "/js/uplot.js", "/%2e", "/?query=SELECT+1#x/play"],
)  # fmt: skip
def test_the_engines_own_pages_are_gone(store: EmbeddedStore, path: str) -> None:
    assert ask(port(store), method="GET", path=path)[0] in {400, 404} or path.startswith("/?")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/?output_format_schema=/tmp/x", 403),
        ("/?format_schema=x", 403),
        ("/?select=1", 403),
        ("/?add_http_cors_header=1", 403),
        ("/?buffer_size=99999999999", 403),
        ("/?stacktrace=1", 403),
        ("/?t_structure=a+Int8", 403),
        ("/?decompress=1", 415),
        ("/?query=SELECT+1&query=SELECT+2", 400),
        ("/?max_threads=1&max%5Fthreads=2", 400),
        ("/?user=default&user=sluiceway", 400),
        ("/?" + "&".join(f"param_{number}=1" for number in range(300)), 400),
    ],
)
def test_a_parameter_that_is_not_on_the_list_is_refused(store: EmbeddedStore, path: str, status: int) -> None:
    assert ask(port(store), "SELECT 1", path=path)[0] == status


def test_parameters_that_clients_send_pass(store: EmbeddedStore) -> None:
    path = (
        "/?query_id=q1&session_id=s&session_timeout=60&quota_key=k&wait_end_of_query=1&client_protocol_version=54460"
        "&default_format=JSONEachRow&database=otel&max_execution_time=65&compress=0&param_x=" + quote("a&b=\x01 ü'")
    )
    assert ask(port(store), "SELECT {x:String} AS x", path=path)[:2] == (200, '{"x":"a&b=\\u0001 ü\'"}\n')


@pytest.mark.parametrize(
    "fields",
    [
        {"Content_Type": "multipart/form-data; boundary=x"},
        {"Content_Encoding": "gzip"},
        {"Authorization": "Bearer x"},
        {"Authorization": "Basic !!!"},
        {"X_ClickHouse_SSL_Certificate_Auth": "on"},
        {"X_ClickHouse_User": "default", "Authorization": "Basic ZGVmYXVsdDo="},
    ],
    ids=str,
)
def test_other_forms_and_ways_to_log_in_are_refused(store: EmbeddedStore, fields: dict[str, str]) -> None:
    assert ask(port(store), "SELECT 1", **fields)[0] in {400, 403, 415}


def test_fields_that_stand_twice_are_refused(store: EmbeddedStore) -> None:
    for twice in ("X-ClickHouse-User: default\r\nX-ClickHouse-User: sluiceway", "Host: a\r\nHost: localhost"):
        head = f"GET /?query=SELECT+1 HTTP/1.1\r\n{'' if 'Host' in twice else 'Host: localhost' + chr(13) + chr(10)}"
        assert b" 400 " in raw(port(store), f"{head}{twice}\r\nConnection: close\r\n\r\n".encode())[:20]


def test_a_request_that_two_readers_could_cut_differently_is_refused(store: EmbeddedStore) -> None:
    smuggled = (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /"
    )
    assert b" 400 " in raw(port(store), smuggled)[:20]


def test_a_compressed_insert_of_the_writer_goes_on_as_it_came(store: EmbeddedStore) -> None:
    login = {"X_ClickHouse_User": WRITER, "X_ClickHouse_Key": store.writer_password}
    ask(port(store), "CREATE TABLE IF NOT EXISTS otel.packed (a UInt64) ENGINE = Memory", **login)
    body = gzip.compress(b"INSERT INTO otel.packed VALUES (1), (2), (3)")
    connection = http.client.HTTPConnection("127.0.0.1", port(store), timeout=TIMEOUT_S)
    with contextlib.closing(connection):
        headers = {name.replace("_", "-"): value for name, value in login.items()} | {"Content-Encoding": "gzip"}
        connection.request("POST", "/", body=body, headers=headers)
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"")
    assert ask(port(store), "SELECT sum(a) FROM otel.packed")[1] == "6\n"
    ask(port(store), "DROP TABLE otel.packed", **login)


def test_nonsense_fills_no_log(store: EmbeddedStore) -> None:
    log = StoreFolder(store.folder).logs / "gate.log"
    before = log.stat().st_size
    for _ in range(50):
        nonsense = b"POST / HTTP/1.1\r\nHost: x\r\nUser-Agent: " + b"\xff" * 50_000 + b"\0\r\n\r\n"
        assert b" 400 " in raw(port(store), nonsense)[:20]
    assert log.stat().st_size - before < 50_000


def test_the_engine_itself_answers_nobody_without_this_starts_secret(store: EmbeddedStore) -> None:
    engine = backend(store)
    for path in ("/", "/ping", "/play", "/?query=SELECT+1&user=reader"):
        assert ask(engine.http_port, "SELECT 1", method="GET", path=path)[0] == 404
        assert ask(engine.http_port, "SELECT 1", path=path, **{SECRET_HEADER.replace("-", "_"): "guess"})[0] == 404


def test_the_entrys_own_user_can_say_nothing_even_to_the_engine(store: EmbeddedStore) -> None:
    engine = backend(store)
    secret = {SECRET_HEADER.replace("-", "_"): engine.secret}
    for statement in (
        "SELECT 1", "SELECT * FROM sqlite('x', 't')", "SELECT file('x')", "SYSTEM STOP LISTEN HTTP", "SHOW TABLES",
        "INSERT INTO entry.pipe FROM INFILE '/dev/stdin' FORMAT LineAsString", "SET max_ast_elements = 1000",
    ):  # fmt: skip
        status, text, fields = ask(engine.http_port, statement, X_ClickHouse_User="default", **secret)
        assert status != 200, text
        # QUOTA_EXCEEDED, TOO_BIG_AST, SETTING_CONSTRAINT_VIOLATION
        assert fields["x-clickhouse-exception-code"] in {"201", "168", "452"}, text
    assert not list(store.folder.rglob("x"))


@pytest.fixture
def asking(store: EmbeddedStore) -> Iterator[list[socket.socket]]:
    """Connections on which an endless query runs; closed at the end, which ends the queries."""
    opened: list[socket.socket] = []
    yield opened
    for each in opened:
        each.close()
    wait_until(lambda: running(store, "reader") == 0, "the end of the queries")


def begin(number: int, statement: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", number), timeout=TIMEOUT_S)
    head = f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(statement)}\r\n\r\n{statement}"
    connection.sendall(head.encode())
    return connection


def running(store: EmbeddedStore, user: str) -> int:
    login = {"X_ClickHouse_User": WRITER, "X_ClickHouse_Key": store.writer_password}
    return int(ask(port(store), f"SELECT count() FROM system.processes WHERE user = '{user}'", **login)[1])


def test_readers_who_take_all_that_one_may_have_leave_room_and_touch_no_part_of_ours(
    store: EmbeddedStore, asking: list[socket.socket]
) -> None:
    asking += [begin(port(store), ENDLESS) for _ in range(40)]
    # Two thirds of twelve: all of these connections are of one user of this machine.
    wait_until(lambda: running(store, "reader") == 8, "eight queries")
    engine = backend(store)
    for user in ("viewer", "alerts", "query"):
        login = {"X_ClickHouse_User": user, "X_ClickHouse_Key": engine.passwords[user]}
        status, text, _ = ask(engine.http_port, **login, **{SECRET_HEADER.replace("-", "_"): engine.secret})
        assert (status, text) == (200, f"{user}\n")
    assert running(store, "reader") == 8


def test_who_goes_away_holds_no_slot(store: EmbeddedStore) -> None:
    for connection in [begin(port(store), ENDLESS) for _ in range(8)]:
        wait_until(lambda: running(store, "reader") > 0, "a query that runs")
        connection.close()
    wait_until(lambda: running(store, "reader") == 0, "the end of the queries")
    assert ask(port(store))[:2] == (200, "reader\n")


def test_silent_connections_and_halves_of_requests_keep_nobody_out(store: EmbeddedStore) -> None:
    silent = [socket.create_connection(("127.0.0.1", port(store)), timeout=TIMEOUT_S) for _ in range(700)]
    try:
        for each in silent[::2]:
            with contextlib.suppress(OSError):
                each.sendall(b"POST / HTTP/1.1\r\nHost: local")
        for _ in range(20):
            assert ask(port(store))[:2] == (200, "reader\n")
    finally:
        for each in silent:
            each.close()


def test_statements_that_never_come_whole_hold_no_slot(store: EmbeddedStore) -> None:
    half = []
    for _ in range(60):
        connection = socket.create_connection(("127.0.0.1", port(store)), timeout=TIMEOUT_S)
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nSELECT")
        half.append(connection)
    try:
        assert ask(port(store))[:2] == (200, "reader\n")
    finally:
        for each in half:
            each.close()


def test_a_large_answer_comes_whole_and_a_broken_one_is_seen_to_be(store: EmbeddedStore) -> None:
    status, text, _ = ask(port(store), "SELECT repeat('x', 99) FROM numbers(1000000)")
    assert (status, len(text)) == (200, 100_000_000)
    engine = store.pid
    assert engine is not None
    connection = begin(
        port(store), "SELECT repeat('x', 250), sleepEachRow(0.001) FROM numbers(900000) SETTINGS max_block_size = 100"
    )
    with contextlib.closing(connection):
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        restarts = store.restarts
        os.kill(engine, signal.SIGKILL)
        received = b""
        with contextlib.suppress(ConnectionError):
            while piece := connection.recv(1 << 16):
                received += piece
        assert not received.endswith(b"0\r\n\r\n")
    wait_until(lambda: store.restarts == restarts + 1 and store.alive, "the next engine")
    wait_until(lambda: ask(port(store))[0] == 200, "an answer of the next engine")


def test_a_gate_that_was_killed_comes_back_on_its_port(store: EmbeddedStore) -> None:
    first = store.gate_pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    # The port is the supervisor's, so what connects meanwhile waits.
    answers: list[int] = []
    thread = threading.Thread(target=lambda: answers.append(ask(port(store))[0]))
    wait_until(lambda: store.gate_pid not in {None, first}, "another gate")
    thread.start()
    thread.join()
    assert answers == [200]


def test_bodies_without_an_end_of_invented_users_leave_the_engine_connections(store: EmbeddedStore) -> None:
    engine = backend(store)
    head = b"POST /?user=x&password=y HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nSELECT "
    with contextlib.ExitStack() as opened:
        for _ in range(300):
            connection = opened.enter_context(socket.create_connection(("127.0.0.1", port(store)), timeout=TIMEOUT_S))
            connection.sendall(head)
        # Behind all of them, and a reader's turn is not theirs.
        assert ask(port(store))[:2] == (200, "reader\n")
        table = Path("/proc/net/tcp").read_text("ascii").splitlines()[1:]
        held = [line for line in table if line.split()[1].endswith(f":{engine.http_port:04X}") and " 01 " in line]
        assert len(held) < 100
        status, _, _ = ask(engine.http_port, **{**engine.headers, "X-ClickHouse-User": "viewer",
                                                "X-ClickHouse-Key": engine.passwords["viewer"]})  # fmt: skip
        assert status == 200
