"""Broken sessions of real clients against the native port's gate: no crash, no hang, nothing unchecked passed on.

The sessions in tests/testdata/native_sessions.json were recorded between clickhouse-go or clickhouse-driver and a gate.
The backend is a spy, since what counts is which bytes arrive at it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import socket
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluiceway.embedded.backend import Backend
from sluiceway.embedded.users import READER
from sluiceway.gate.native import NativeGate, NativeLimits
from sluiceway.gate.native_packets import CANCEL, PING, QUERY, Cursor, IncompleteError, Query, RefusedError
from sluiceway.gate.slots import Slots
from sluiceway.gate.statements import refusal
from tests.native_gate_under_test import READER_PASSWORD
from tests.native_protocol import number, text

RECORDED = {
    name: bytes.fromhex(session)
    for name, session in json.loads(
        (Path(__file__).parents[1] / "testdata" / "native_sessions.json").read_text()
    ).items()
}
GREETING = b"\x00" + text("ClickHouse") + number(26) + number(9) + number(54492) + b"and more"
AT_ONCE = 32
# What a length or a number may be where it hurts.
NUMBERS = [b"\x00", b"\x7f", b"\x80", b"\xff" * 9 + b"\x01", b"\xff" * 8 + b"\x7f", b"\x80\x80\x10", b"\xff\xff\x0f"]


def broken(chance: random.Random) -> list[bytes]:
    """One recorded session with a few changes, in a few pieces."""
    session = bytearray(chance.choice(list(RECORDED.values())))
    for _ in range(chance.choice((0, 1, 1, 1, 2, 4))):
        at = chance.randrange(len(session) or 1)
        match chance.randrange(6):
            case 0 if session:
                session[at] ^= 1 << chance.randrange(8)
            case 1:
                session[at : at + 1] = chance.choice(NUMBERS)
            case 2:
                del session[at : at + chance.randrange(1, 9)]
            case 3:
                session[at:at] = chance.randbytes(chance.randrange(1, 40))
            case 4:
                del session[max(1, at) :]
            case _:
                other = chance.choice(list(RECORDED.values()))
                session[at:at] = other[chance.randrange(len(other)) :]
    cuts = sorted(chance.randrange(len(session) + 1) for _ in range(chance.choice((0, 0, 1, 3))))
    return [bytes(session[start:end]) for start, end in zip([0, *cuts], [*cuts, len(session)], strict=True)]


class Spied:
    """A gate and a backend in one event loop.

    Attributes:
        passed: statements that the backend has received.
    """

    def __init__(self) -> None:
        self.passed: Counter[str] = Counter()
        self._refused: set[str] = set()
        self._allowed: set[str] = set()

    def _check(self, statement: str) -> str | None:
        reason = refusal(statement)
        (self._allowed if reason is None else self._refused).add(statement)
        return reason

    async def _backend(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = await reader.read(1 << 16)
        writer.write(GREETING)
        received += await reader.read()
        writer.close()
        self.judge(received)

    def judge(self, received: bytes) -> None:
        """Fail unless `received` is a login as the reader and whole packets with statements that were allowed."""
        login = text(READER) + text(READER_PASSWORD)
        assert received.count(login) == 1
        rest = received[received.index(login) + len(login) :]
        if not rest:
            return
        cursor = Cursor(rest)
        assert cursor.byte() == 0
        while cursor.position < len(rest):
            start = cursor.position
            packet = cursor.number()
            if packet in {PING, CANCEL}:
                continue
            assert packet == QUERY
            query = Query.read(cursor)
            whole = query.encoded()
            assert rest[start : start + len(whole)] == whole
            cursor.position = start + len(whole)
            assert query.statement in self._allowed
            assert query.statement not in self._refused
            self.passed[query.statement] += 1

    async def play(self, sessions: list[list[bytes]]) -> None:
        """Each session on a connection of its own, a few at a time, until the gate has ended it."""
        failures: list[BaseException] = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: failures.append(context.get("exception") or AssertionError(context))
        )
        server = await asyncio.start_server(self._backend, "127.0.0.1", 0, backlog=256)
        backend = Backend("127.0.0.1", 0, server.sockets[0].getsockname()[1], "", {READER: READER_PASSWORD})
        listening = socket.create_server(("127.0.0.1", 0), backlog=256)
        limits = NativeLimits(hello_s=10, packet_s=10, stalled_s=10, handshakes_max=256, connections_per_caller_max=256)
        gate = NativeGate(lambda: backend, Slots(64, 64, wait_s=0.01, waiting_max=64), self._check, limits)
        await gate.start(listening)
        turn = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            for session in sessions:
                await turn.acquire()
                group.create_task(_play(gate.port, session)).add_done_callback(lambda _: turn.release())
        await gate.close()
        server.close()
        # Backends end when the gate has let go of them.
        while len(asyncio.all_tasks()) > 1:
            await asyncio.sleep(0.001)
        assert failures == []


async def _play(port: int, session: list[bytes]) -> None:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for piece in session:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            writer.write_eof()
            await reader.read()
        except OSError:
            pass
        finally:
            writer.close()


@pytest.mark.parametrize("count", [500, pytest.param(100_000, marks=pytest.mark.long)])
def test_broken_sessions_pass_on_nothing_that_was_not_checked(count: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(count)
    spied = Spied()
    with caplog.at_level(logging.ERROR):
        asyncio.run(spied.play([broken(chance) for _ in range(count)]))

    assert caplog.records == []
    # Not because all were ended at once.
    assert spied.passed.total() > count // 4
    assert len(spied.passed) > 5


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("session", RECORDED.values(), ids=RECORDED)
def test_whole_sessions_are_passed_on_wherever_they_are_cut(session: bytes, step: int) -> None:
    spied = Spied()
    cuts = range(1, len(session), step)
    asyncio.run(spied.play([[session[:cut], session[cut:]] for cut in cuts]))

    assert set(spied.passed.values()) <= {len(cuts), 2 * len(cuts)}
    # The session with the table is ended at the table.
    assert spied.passed or b"sent" in session


@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    cursor = Cursor(data)
    try:
        query = Query.read(cursor)
    except (IncompleteError, RefusedError):
        return
    assert Query.read(Cursor(query.encoded()[1:])) == query
