"""The native port's gate before the real engine: other people's clients read through it, and nothing slips past it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from schemas.settings import StoreSettings
from sluiceway.embedded.backend import Backend
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
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
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    http_port, native_port = free_ports(2)
    settings = StoreSettings(http_port=http_port, native_port=native_port)
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


def test_clickhouse_go_reads_with_a_deadline_of_a_minute_and_each_compression(gate: Gate) -> None:
    with skip_where_missing():
        asker = native_asker()
    printed = run([asker, f"127.0.0.1:{gate.port}"], cwd=asker.parent, timeout_s=120)

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
        assert b"answer" in client.until(END_OF_STREAM)
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
            assert client.until(END_OF_STREAM).endswith(END_OF_STREAM)


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
