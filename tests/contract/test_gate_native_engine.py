"""The native port's gate before the real engine: other people's clients read through it, and nothing slips past it."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from functools import partial

import pytest

from schemas.settings import StoreSettings
from sluiceway.embedded.backend import Backend
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.gate.slots import Slots
from sluiceway.gate.statements import refusal
from tests.native_gate_under_test import Gate, native_gate
from tests.native_protocol import (
    EMPTY_DATA,
    END_OF_STREAM,
    PING,
    PONG,
    ByHand,
    Refusal,
    hello,
    hidden_query,
    query,
    text,
)
from tests.real_parts import skip_where_missing
from tests.rows_in_store import Database, database
from tests.testbed.clickhouse_native import native_asker
from tests.testbed.parts import free_ports, run


@pytest.fixture(scope="module")
def ports() -> list[int]:
    return free_ports(2)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, ports: list[int]) -> Iterator[EmbeddedStore]:
    settings = StoreSettings(http_port=ports[0], native_port=ports[1])
    with EmbeddedStore(tmp_path_factory.mktemp("native"), settings) as store:
        yield store


@pytest.fixture(scope="module")
def backend(engine: EmbeddedStore) -> Backend:
    found = Backend.read(StoreFolder(engine.folder).backend)
    assert found is not None
    return found


@pytest.fixture
def gate(backend: Backend) -> Iterator[Gate]:
    with native_gate(backend, refuse=refusal) as made:
        yield made


def test_clickhouse_go_reads_with_a_deadline_of_a_minute_and_each_compression(
    engine: EmbeddedStore, ports: list[int]
) -> None:
    with skip_where_missing():
        asker = native_asker()
    printed = run([asker, f"127.0.0.1:{ports[1]}"], cwd=asker.parent, timeout_s=120)

    outcomes = [json.loads(line) for line in printed.splitlines()]
    assert len(outcomes) == 4
    for outcome in outcomes:
        assert outcome == {
            "User": "reader", "Sum": 499500, "Text": "199999", "Parameter": "it's \\ ü 7", "Refused": 497,
            "Unknown": 115, "Syntax": 62, "External": True, "Afterwards": 42, "Cancelled": True,
        }  # fmt: skip


def test_a_query_by_hand_is_answered(gate: Gate) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT 'an' || 'swer'"), EMPTY_DATA)
        assert b"answer" in client.answer()
        client.send(PING)

        assert client.until(PONG) == PONG


def test_a_query_hidden_in_the_settings_of_another_is_run_by_the_engine_and_not_through_the_gate(
    gate: Gate, backend: Backend
) -> None:
    hidden = hidden_query("SELECT 'hid' || 'den'")
    assert backend.native_port is not None
    with ByHand(backend.native_port, timeout_s=10) as client:
        client.greet(user="reader", password=backend.passwords["reader"])
        # The engine waits for the Data of the first.
        client.send(query("SELECT 1"), hidden)
        # Should this fail one day, the engine has become safer, and the gate can be simpler.
        assert b"hidden" in client.until(END_OF_STREAM)

    for before in (b"", query("SELECT 1"), query("SELECT 1") + EMPTY_DATA):
        with ByHand(gate.port) as client:
            client.greet()
            client.send(before, hidden)

            assert b"hidden" not in client.rest()
    assert set(gate.checked) <= {"SELECT 1"}


def test_a_value_that_the_engine_cannot_parse_ends_the_connection(gate: Gate) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT 1", settings=[("max_execution_time", 0, "soon")]), EMPTY_DATA, query("SELECT 2"))

        assert Refusal.read(client.rest()).code == 72


def test_settings_are_held_against_the_readers_list_by_the_engine(gate: Gate) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT 1", settings=[("output_format_schema", 1, "/tmp/x")]), EMPTY_DATA)  # noqa: S108

        assert Refusal.read(client.socket.recv(1 << 16)).code in {164, 452}


@pytest.mark.parametrize("compression", [0, 1])
def test_the_gates_own_empty_block_is_one_to_the_engine(gate: Gate, compression: int) -> None:
    # With compression the client's own block is a frame; its content is replaced by the gate's.
    frame = bytes(16) + b"\x82" + (22).to_bytes(4, "little") + (10).to_bytes(4, "little") + bytes(13)
    end = b"\x02\x00" + frame if compression else EMPTY_DATA
    with ByHand(gate.port) as client:
        client.greet()
        for _ in range(3):
            client.send(query("SELECT 1", compression=compression), end)
            assert client.answer()


def test_what_a_client_left_is_cancelled(gate: Gate, engine: EmbeddedStore) -> None:
    with ByHand(gate.port) as client:
        client.greet()
        client.send(query("SELECT sum(cityHash64(number, 'left alone')) FROM numbers(1000000000000)"), EMPTY_DATA)
        with database(engine, "watching") as watching:
            while not _running(watching):
                time.sleep(0.05)
            client.close()
            while _running(watching):
                time.sleep(0.05)


def _running(watching: Database) -> bool:
    return bool(watching.ask("SELECT 1 FROM system.processes WHERE query LIKE '%left alone%' AND user = 'reader'"))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT sum(cityHash64(number, 'slow')) FROM numbers(1000000000000)",
        # Answers nothing while it is analysed.
        "SELECT 1 + (SELECT sum(cityHash64(number, 'slow')) FROM numbers(1000000000000))",
    ],
    ids=["running", "analysed"],
)
def test_a_query_holds_a_slot_until_its_answer_has_ended(
    backend: Backend, engine: EmbeddedStore, statement: str
) -> None:
    one = partial(Slots, 1, 1, wait_s=0.1, waiting_max=8)
    with native_gate(backend, slots=one) as gate, ByHand(gate.port) as slow, ByHand(gate.port) as other:
        slow.greet()
        other.greet()
        other.send(query("SELECT 1"), EMPTY_DATA)
        other.answer()
        until_s = time.monotonic() + 10
        # Of the one before, until its answer is taken to have ended.
        while _refused(slow, statement):
            assert time.monotonic() < until_s
        for _ in range(20):
            other.send(query("SELECT 1"), EMPTY_DATA)
            assert Refusal.read(other.until(b"\x00\x00")).code == 202
        slow.close()
        while True:
            other.send(query("SELECT 1"), EMPTY_DATA)
            first = other.socket.recv(1, socket.MSG_PEEK)
            if first == b"\x01":
                other.answer()
                break
            other.until(b"\x00\x00")


def _refused(client: ByHand, statement: str) -> bool:
    """Whether it was, within the time in which a refusal comes."""
    client.send(query(statement), EMPTY_DATA)
    client.socket.settimeout(0.5)
    try:
        return client.until(b"\x00\x00").startswith(b"\x02")
    except TimeoutError:
        return False
    finally:
        client.socket.settimeout(20)


def test_the_writer_writes_with_its_password_and_not_without(gate: Gate, engine: EmbeddedStore) -> None:
    with ByHand(gate.port) as client:
        client.send(hello("sluiceway", engine.writer_password))
        client.socket.recv(1 << 16)
        client.send(text(""), query("CREATE TABLE otel.by_hand (a UInt8) ENGINE = Null"), EMPTY_DATA)
        assert client.until(END_OF_STREAM).endswith(END_OF_STREAM)
        client.send(query("DROP TABLE otel.by_hand"), EMPTY_DATA)
        assert client.until(END_OF_STREAM).endswith(END_OF_STREAM)
    with ByHand(gate.port) as client:
        client.send(hello("sluiceway", "guessed"))

        assert Refusal.read(client.rest()).code == 516
