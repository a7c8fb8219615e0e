"""No reader holds a slot that it does not use, and none blinds those of ours who read as users of their own."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection

import pytest
from clickhouse_connect.driver.client import Client

from schemas.settings import StoreSettings
from sluiceway.store_access import StoreAccess
from tests.reader.attack import HANG_S, Attack, Attacker
from tests.reader.attacked_store import ROWS, AttackedStore

# More than all slots of all readers, which are 12 by default.
MANY = 16
SLOW = "SELECT sum(sleepEachRow(1)) FROM numbers(25) SETTINGS max_block_size = 1"
COUNT = "SELECT count() FROM otel.reader_sees"


@pytest.fixture
def access(attacked_store: AttackedStore) -> StoreAccess:
    settings = StoreSettings(http_port=attacked_store.http_port, native_port=attacked_store.native_port)
    return StoreAccess(settings, attacked_store.store.folder)


def ask(port: int, statement: str, timeout_s: float = 30) -> tuple[int, bytes]:
    connection = HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("POST", "/", body=statement)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def await_that(holds: Callable[[], bool], what: str, timeout_s: float = 20) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline_s, what
        time.sleep(0.05)


def slow_queries(writer: Client) -> int:
    [(count,)] = writer.query(
        "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow%' AND query NOT LIKE '%system.processes%'"
    ).result_rows
    return int(count)


@contextmanager
def taken(attacked: AttackedStore) -> Iterator[list[socket.socket]]:
    """More slow queries of readers than they have slots; their connections. All are gone at the end."""
    with ExitStack() as stack:
        held = []
        for _ in range(MANY):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", attacked.http_port)))
            body = SLOW.encode()
            connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            held.append(connection)
        # Some hold slots, the others wait for one.
        await_that(lambda: slow_queries(attacked.writer) > 0, "no slow query runs")
        yield held
    await_that(lambda: slow_queries(attacked.writer) == 0, "a query runs on for a client that went away")


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO entry.pipe FROM INFILE '/dev/stdin'",
        "INSERT INTO entry.pipe FROM INFILE '/dev/stdin' FORMAT LineAsString",
        "INSERT INTO otel.reader_sees FORMAT CSV",
        "INSERT INTO otel.reader_sees FROM INFILE '/dev/zero' FORMAT CSV",
    ],
)
def test_inserts_that_would_wait_for_ever_are_refused_at_once(attacked_store: AttackedStore, statement: str) -> None:
    port = attacked_store.http_port
    with ThreadPoolExecutor(MANY) as threads:
        answers = list(threads.map(lambda _: ask(port, statement, HANG_S), range(MANY)))
    assert [status for status, _ in answers if status < 400] == []
    assert ask(port, COUNT, HANG_S) == (200, b"%d\n" % len(ROWS))


def test_half_sent_requests_hold_no_slot(attacked_store: AttackedStore) -> None:
    port = attacked_store.http_port
    with ExitStack() as stack:
        for head in (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nSELECT 1",
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nSELECT 1\r\n",
            b"POST / HTTP/1.1\r\nHost: 127.0",
        ):
            for _ in range(MANY):
                stack.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(head)
        assert ask(port, COUNT, HANG_S) == (200, b"%d\n" % len(ROWS))


def test_answers_that_nobody_takes_block_nobody_else_of_ours(
    attacked_store: AttackedStore, access: StoreAccess
) -> None:
    body = b"SELECT repeat('x', 1000) FROM numbers(250000)"
    with ExitStack() as stack:
        for _ in range(MANY):
            connection = stack.enter_context(socket.socket())
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(("127.0.0.1", attacked_store.http_port))
            connection.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert_ours_read(access)


def assert_ours_read(access: StoreAccess) -> None:
    for reader in ("viewer", "alerts", "query"):
        client = access.connect_reader(reader, answer_timeout_s=10)
        try:
            assert client.query(COUNT).result_rows == [(len(ROWS),)], reader
        finally:
            client.close()


def test_viewer_alert_rules_and_query_read_while_readers_hold_all_their_slots(
    attacked_store: AttackedStore, access: StoreAccess
) -> None:
    with taken(attacked_store):
        assert_ours_read(access)
        attacked_store.writer.command("SELECT 1")


def test_clients_that_went_away_have_let_go_of_their_slots(attacked_store: AttackedStore) -> None:
    """All of them at once, after many that were refused, cut or hung up on: `taken` waits until none runs."""
    with taken(attacked_store) as held:
        for connection in held:
            connection.close()
        await_that(lambda: slow_queries(attacked_store.writer) == 0, "a query runs on for a client that went away")
    wanted = StoreSettings().reader_queries_at_once * 2 // 3
    together = threading.Barrier(wanted)

    def one(_: int) -> tuple[int, bytes]:
        together.wait(10)
        return ask(attacked_store.http_port, "SELECT sleep(0.5)", HANG_S)

    with ThreadPoolExecutor(wanted) as threads:
        assert list(threads.map(one, range(wanted))) == [(200, b"0\n")] * wanted


def test_refused_statements_hold_no_slot(attacked_store: AttackedStore) -> None:
    attacker = Attacker(attacked_store.http_port, ())
    statements = (
        "DROP TABLE otel.reader_sees",
        "SELECT throwIf(1)",
        "SELECT * FROM system.users",
        "SELECT 1 FORMAT Nowhere",
        "SELECT fil(1)",
    )
    assert attacker.complaints(Attack(statement) for statement in statements * 20) == []
    assert ask(attacked_store.http_port, COUNT, HANG_S) == (200, b"%d\n" % len(ROWS))
