"""The native port's gate, packet by packet: who gets in, what is checked, and that nothing else reaches the engine.

The backend is a spy here, since what counts is which bytes arrive; tests/contract/test_gate_native_engine.py has the
real engine.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from functools import partial

import pytest

from sluiceway.embedded.backend import Backend
from sluiceway.embedded.users import READER, WRITER
from sluiceway.gate.native import NativeLimits
from sluiceway.gate.slots import Slots
from tests.native_gate_under_test import READER_PASSWORD, Gate, Spy, native_gate
from tests.native_protocol import (
    CANCEL,
    EMPTY_BLOCK,
    EMPTY_DATA,
    PING,
    ByHand,
    Refusal,
    client_info,
    hello,
    number,
    query,
    text,
)  # fmt: skip


@pytest.fixture
def spy() -> Iterator[Spy]:
    made = Spy()
    yield made
    made.close()


@pytest.fixture
def gate(spy: Spy) -> Iterator[Gate]:
    with native_gate(spy.backend, refuse=lambda statement: "no files" if "file" in statement else None) as made:
        yield made


def test_default_becomes_the_reader_at_a_revision_that_the_gate_knows(gate: Gate, spy: Spy) -> None:
    with ByHand(gate.port) as client:
        greeting = client.greet(database="otel")

    assert greeting == b"\x00" + text("ClickHouse") + number(26) + number(9) + number(54469) + b"and more"
    assert spy.received[0].startswith(hello(READER, READER_PASSWORD, database="otel"))


@pytest.mark.parametrize(("theirs", "used"), [(54459, 54459), (54469, 54469), (54470, 54469), (2**40, 54469)])
def test_a_revision_is_the_clients_up_to_the_newest_known(gate: Gate, spy: Spy, theirs: int, used: int) -> None:
    with ByHand(gate.port) as client:
        client.send(hello(revision=theirs))
        assert number(used) in client.socket.recv(1 << 16)

    assert spy.received[0] == hello(READER, READER_PASSWORD, revision=used)


@pytest.mark.parametrize(
    ("user", "password"),
    [
        ("default", "guessed"), (READER, READER_PASSWORD), (READER, ""), ("", ""), ("Default", ""), ("default ", ""),
        (" INTERSERVER SECRET ", ""), (" SSH KEY AUTHENTICATION default", ""), (" JWT AUTHENTICATION ", "x.y.z"),
        (f"{WRITER} ", ""), ("somebody", "x"),
    ],
)  # fmt: skip
def test_every_other_user_is_refused_before_the_engine_hears_of_it(
    gate: Gate, spy: Spy, user: str, password: str
) -> None:
    with ByHand(gate.port) as client:
        # An interserver client sends its cluster and salt right behind.
        client.send(hello(user, password), text("cluster"), text("salt"))
        refusal = Refusal.read(client.rest())

    assert refusal.code == 516
    assert "cannot log in here" in refusal.message
    assert READER_PASSWORD not in refusal.message
    assert spy.received == []


def test_the_writer_is_passed_on_as_it_is(gate: Gate, spy: Spy) -> None:
    with ByHand(gate.port) as client:
        client.send(hello(WRITER, "its password", revision=54492))
        assert client.until(b"and more") == spy.greeting
        client.send(b"whatever it says, \xff\x00\x07")
        spy.await_bytes(b"\xff\x00\x07")

    assert spy.received[0] == hello(WRITER, "its password", revision=54492) + b"whatever it says, \xff\x00\x07"
    assert gate.checked == []


def test_a_query_is_checked_and_passed_on_with_its_end(gate: Gate, spy: Spy) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT 1", settings=[("max_execution_time", 1, "65")], parameters=[("p", 2, "'v'")]))
        client.send(EMPTY_DATA)
        spy.await_bytes(EMPTY_DATA)

    (received,) = spy.received
    assert gate.checked == ["SELECT 1"]
    assert text("max_execution_time") + b"\x01" + text("65") in received
    assert text("SELECT 1") + text("p") + b"\x02" + text("'v'") + b"\x00" + EMPTY_DATA in received


def test_a_refused_statement_is_answered_and_the_connection_goes_on(gate: Gate, spy: Spy) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT file('x')"), EMPTY_DATA)
        refusal = Refusal.read(client.until(b"\x00\x00"))
        client.send(query("SELECT 2"), EMPTY_DATA, PING)
        spy.await_bytes(EMPTY_DATA + PING)

    assert (refusal.code, refusal.message) == (497, "DB::Exception: no files")
    assert b"SELECT 2" in spy.received[0]
    assert b"file" not in spy.received[0]


def test_a_statement_in_any_pieces_is_checked_whole_and_nothing_of_it_is_passed_on_before(gate: Gate, spy: Spy) -> None:
    sent = hello() + text("") + query("SELECT file('x')") + EMPTY_DATA + PING
    with ByHand(gate.port) as client:
        for byte in sent:
            client.send(bytes((byte,)))
        spy.await_bytes(PING)

    assert spy.received[0] == hello(READER, READER_PASSWORD) + text("") + PING
    assert gate.checked == ["SELECT file('x')"]


def test_a_query_is_kept_until_its_data_ends_it(gate: Gate, spy: Spy) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(PING, query("SELECT 1"))
        spy.await_bytes(PING)
        while not gate.checked:
            time.sleep(0.01)
        assert spy.received[0].endswith(PING)
        client.send(EMPTY_DATA)
        spy.await_bytes(EMPTY_DATA)


_FRAME = bytes(16) + b"\x82" + (22).to_bytes(4, "little") + (10).to_bytes(4, "little") + bytes(13)
NOT_UNDERSTOOD = {
    "a second Hello": hello(),
    "TablesStatusRequest": b"\x05",
    "KeepAlive": b"\x06",
    "Scalar": b"\x07" + text("s") + EMPTY_BLOCK,
    "IgnoredPartUUIDs": b"\x08\x00",
    "QueryPlan": b"\x0d",
    "an unknown packet": b"\x7f",
    "Data without a Query": EMPTY_DATA,
    "a Query without Data": query("SELECT 1") + query("SELECT 2"),
    "a Ping before Data": query("SELECT 1") + PING,
    "a Cancel before Data": query("SELECT 1") + CANCEL,
    "an external table": query("SELECT 1") + b"\x02" + text("t") + EMPTY_BLOCK,
    "a block with columns": query("SELECT 1") + b"\x02\x00" + bytes.fromhex("010002ffffffff000101"),
    "a compressed block of more": query("SELECT 1", compression=1) + b"\x02\x00" + _FRAME.replace(b"\x0a", b"\x0b"),
    "a long compressed block": query("SELECT 1", compression=1) + b"\x02\x00" + _FRAME.replace(b"\x16", b"\xff"),
    "an unknown codec": query("SELECT 1", compression=1) + b"\x02\x00" + _FRAME.replace(b"\x82", b"\x96"),
    "a secondary query": query("SELECT 1", info=client_info(kind=2)) + EMPTY_DATA,
    "no query": query("SELECT 1", info=b"\x00") + EMPTY_DATA,
    "a query over HTTP": query("SELECT 1", info=client_info(interface=2)) + EMPTY_DATA,
    "parallel replicas": query("SELECT 1", info=client_info(replicas=1)) + EMPTY_DATA,
    "half a trace": query("SELECT 1", info=client_info(trace=b"\x02")) + EMPTY_DATA,
    "an interserver secret": query("SELECT 1", secret="s" * 32) + EMPTY_DATA,
    "a stage before the last": query("SELECT 1", stage=1) + EMPTY_DATA,
    "a query plan's stage": query("SELECT 1", stage=5) + EMPTY_DATA,
    "an unknown compression": query("SELECT 1", compression=2) + EMPTY_DATA,
    "a statement that is not UTF-8": query(b"SELECT '\xff'") + EMPTY_DATA,
    "a statement with NUL": query("SELECT 1\0") + EMPTY_DATA,
    "a long statement": query("S" * (256 * 1024 + 1)) + EMPTY_DATA,
    "too many settings": query("SELECT 1", settings=[(f"s{each}", 0, "1") for each in range(129)]) + EMPTY_DATA,
    "a long setting": query("SELECT 1", settings=[("s", 0, "1" * 16385)]) + EMPTY_DATA,
    "too large a packet": query("SELECT 1", parameters=[(f"p{each}", 2, "'" * 65000) for each in range(9)]),
    "an endless number": b"\x01" + b"\xff" * 64,
}  # fmt: skip


@pytest.mark.parametrize("packet", NOT_UNDERSTOOD.values(), ids=NOT_UNDERSTOOD.keys())
def test_what_is_not_understood_ends_the_connection_and_never_reaches_the_engine(
    gate: Gate, spy: Spy, packet: bytes
) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(packet)
        refusal = Refusal.read(client.rest())
    assert spy.ended.wait(20)

    assert refusal.code in {101, 497}
    assert spy.received[0] == hello(READER, READER_PASSWORD) + text("")


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b"\xff" * 32, b"\x01"])
def test_what_is_no_hello_is_closed(gate: Gate, spy: Spy, sent: bytes) -> None:
    with ByHand(gate.port) as client:
        client.send(sent)
        client.rest()

    assert spy.received == []


def test_an_old_client_is_told_which_revision_it_needs(gate: Gate) -> None:
    with ByHand(gate.port) as client:
        client.send(hello(revision=54458))

        assert "must be at least 54459 (ClickHouse 22.11), received 54458" in Refusal.read(client.rest()).message


def test_a_check_that_fails_refuses(spy: Spy) -> None:
    def broken(statement: str) -> str | None:
        raise RuntimeError(statement)

    with native_gate(spy.backend, refuse=broken) as gate, ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT 1"), EMPTY_DATA)

        assert Refusal.read(client.until(b"\x00\x00")).code == 497


@pytest.mark.parametrize("backend", [None, Backend("127.0.0.1", 1, 1, "", {READER: ""})], ids=["not ready", "refuses"])
def test_without_an_engine_clients_are_told_to_come_back(backend: Backend | None) -> None:
    with native_gate(backend) as gate, ByHand(gate.port) as client:
        client.send(hello())
        refusal = Refusal.read(client.rest())

    assert (refusal.code, "not ready" in refusal.message) == (210, True)


def test_the_engine_is_left_when_its_client_goes(gate: Gate, spy: Spy) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT 1"), EMPTY_DATA)
        spy.await_bytes(EMPTY_DATA)
        assert not spy.ended.is_set()

    assert spy.ended.wait(20)


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        (NativeLimits(hello_s=0.2), b""),
        (NativeLimits(hello_s=0.2), hello()[:-1]),
        (NativeLimits(packet_s=0.2), hello() + text("") + query("SELECT 1")[:-1]),
        (NativeLimits(idle_s=0.2), hello() + text("")),
    ],
    ids=["silent", "half a hello", "half a query", "idle"],
)
def test_silence_is_bounded(spy: Spy, limits: NativeLimits, sent: bytes) -> None:
    with native_gate(spy.backend, limits=limits) as gate, ByHand(gate.port) as client:
        client.send(sent)
        client.rest()


def test_silent_connections_do_not_keep_others_out(spy: Spy) -> None:
    with native_gate(spy.backend, limits=NativeLimits(hello_s=600, handshakes_max=4)) as gate:
        silent = [ByHand(gate.port) for _ in range(40)]
        with ByHand(gate.port) as client:
            assert client.greet().startswith(b"\x00")
        # All but the last of them were closed to make room.
        for each in silent[:30]:
            assert each.rest() == b""
        for each in silent:
            each.close()


def test_quiet_readers_make_room_and_busy_ones_do_not(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    with native_gate(spy.backend, limits=NativeLimits(connections_per_caller_max=2)) as gate:
        quiet, busy = ByHand(gate.port), ByHand(gate.port)
        quiet.greet()
        busy.greet()
        with ByHand(gate.port) as third:
            third.send(hello())
            assert Refusal.read(third.rest()).code == 202
        monkeypatch.setattr("sluiceway.gate.native._QUIET_S", 0.0)
        with ByHand(gate.port) as fourth:
            assert fourth.greet().startswith(b"\x00")
            assert quiet.rest() == b""
        busy.send(PING)
        spy.await_bytes(PING)
        quiet.close()
        busy.close()


def test_readers_do_not_take_the_writers_connections(spy: Spy) -> None:
    limits = NativeLimits(connections_max=1, connections_per_caller_max=1)
    with native_gate(spy.backend, limits=limits) as gate, ByHand(gate.port) as reader, ByHand(gate.port) as writer:
        reader.greet()
        writer.send(hello(WRITER, "password"))

        assert writer.until(b"and more") == spy.greeting


def test_an_engine_that_says_nothing_yet_keeps_the_slot(spy: Spy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sluiceway.gate.native_connection._ENDED_S", 0.02)
    one = partial(Slots, 1, 1, wait_s=0.2, waiting_max=8)
    with native_gate(spy.backend, slots=one) as gate, ByHand(gate.port) as first, ByHand(gate.port) as second:
        first.greet()
        second.greet()
        first.send(query("SELECT 1"), EMPTY_DATA)
        spy.await_bytes(EMPTY_DATA)
        second.send(query("SELECT 2"), EMPTY_DATA)

        assert Refusal.read(second.until(b"\x00\x00")).code == 202
        first.send(PING)
        second.send(query("SELECT 3"), EMPTY_DATA)
        spy.await_bytes(b"SELECT 3")


def test_an_answer_that_nobody_takes_is_not_kept_in_memory_and_ends(spy: Spy) -> None:
    spy.greeting += bytes(64 * 1024 * 1024)
    with native_gate(spy.backend, limits=NativeLimits(stalled_s=0.5)) as gate, ByHand(gate.port) as client:
        client.send(hello())
        # Not one byte is read, and the engine is left all the same.
        assert spy.ended.wait(20)


def test_every_boundary_of_a_session_gives_the_same_bytes_to_the_engine(gate: Gate, spy: Spy) -> None:
    session = hello() + text("") + query("SELECT 1", settings=[("s", 1, "1")]) + EMPTY_DATA + PING
    for cut in range(1, len(session)):
        with ByHand(gate.port) as client:
            client.send(session[:cut])
            client.send(session[cut:])
            client.until(b"and more")
            while len(spy.received) < cut or not spy.received[-1].endswith(EMPTY_DATA + PING):
                time.sleep(0.001)

    assert all(one == other for one, other in itertools.pairwise(spy.received))
