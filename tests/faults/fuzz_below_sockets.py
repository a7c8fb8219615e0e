"""The receivers' code below the sockets: decompression, JSON, the path into the log, the HTTP protocol in memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from ingest.admission import Admission
from ingest.append import Appender
from ingest.decompress import decompress
from ingest.http_receiver import HttpReceiver
from ingest.json import encode_request
from ingest.receive import Pending, Reception
from ingest.split import split
from ingest.tally import Tally
from schemas.errors import PermanentError, TooLargeError
from schemas.settings import RetentionSettings
from schemas.signals import Signal
from tests.faults.fuzz_http import REQUESTS_EDITED, codes, stream
from tests.faults.fuzz_inputs import Inputs
from tests.faults.fuzz_oracle import IMPATIENT, PATIENCE_S, SETTINGS, Expected, KeptLog, judged, must_be_faultless
from tests.otlp_requests import NOW_NS

ROUND = 4000
CONVERSATIONS = 128
DECOMPRESSED_BYTES = 64 * 1024


class BelowSockets:
    """The receivers' parts, put together as `Receivers` does it, without a port."""

    def __init__(self, folder: Path) -> None:
        self.log = KeptLog(folder)
        self.admission = Admission(SETTINGS)
        self.tally = Tally(self.admission)
        self.appender = Appender(self.log.writer, SETTINGS, self.tally, clock_ns=lambda: NOW_NS)
        self.reception = Reception(self.appender, SETTINGS, RetentionSettings(), self.tally, clock_ns=lambda: NOW_NS)

    def close(self) -> None:
        self.appender.close()
        self.log.close()


def decompression(rng: random.Random, inputs: int, _folder: Path) -> int:
    """`decompress`: bytes within the bound, or the client's fault."""
    made = Inputs(rng)
    for _ in range(inputs):
        _, encoding, body = made.compressed()
        with contextlib.suppress(PermanentError):
            assert len(decompress(encoding, body, max_bytes=DECOMPRESSED_BYTES)) <= DECOMPRESSED_BYTES
    return inputs


def json(rng: random.Random, inputs: int, _folder: Path) -> int:
    """`encode_request`: a request that the validator takes, or the client's fault."""
    made = Inputs(rng)
    for _ in range(inputs):
        signal, body = made.json()
        try:
            encoded = encode_request(signal, body, max_depth=SETTINGS.max_nesting_depth)
        except PermanentError:
            continue
        judged_or_too_deep(signal, encoded)
    return inputs


def judged_or_too_deep(signal: Signal, encoded: bytes) -> None:
    """What our own encoder wrote may nest too deep, or hold ids and times that are rejected one by one; no more."""
    try:
        judged(signal, encoded)
    except PermanentError as error:
        if "nest at most" not in str(error):
            raise


def reception(rng: random.Random, inputs: int, folder: Path) -> int:
    """`Reception.submit` into the real log: all that is acknowledged is there, and nothing else."""
    below = BelowSockets(folder)
    made = Inputs(rng)
    try:
        expected = Expected()
        for first in range(0, inputs, ROUND):
            pending: list[tuple[Pending, Signal, str, bytes]] = []
            for _ in range(min(ROUND, inputs - first)):
                (signal, body), tenant = made.message(), made.tenant()
                try:
                    pending.append((below.reception.submit(signal, "http", tenant, body), signal, tenant, body))
                except PermanentError:
                    continue
            for taken, signal, tenant, body in pending:
                taken.durable.result(PATIENCE_S)
                verdict = judged(signal, body)
                assert (taken.receipt.accepted, taken.receipt.rejected) == (verdict.items, verdict.rejected)
                expected.keep(signal, tenant, verdict)
            _, signal, _, body = pending[-1]
            must_split_whole(signal, body)
            below.log.must_hold(expected)
        must_be_faultless(below.tally)
    finally:
        below.close()
    return inputs


def must_split_whole(signal: Signal, body: bytes) -> None:
    verdict = judged(signal, body)
    try:
        parts = split(signal, verdict.body, verdict.items, max(1, len(verdict.body) // 2))
    except TooLargeError:
        return
    assert sum(items for _, items in parts) == verdict.items
    assert [judged(signal, part).items for part, _ in parts] == [items for _, items in parts]


def http_protocol(rng: random.Random, inputs: int, folder: Path) -> int:
    """The HTTP protocol and application, fed edited byte streams in random pieces through a transport in memory."""
    below = BelowSockets(folder)
    receivers = [
        HttpReceiver(below.reception, below.admission, below.tally, bounds) for bounds in (SETTINGS, IMPATIENT)
    ]
    patient, impatient = (receiver.server_config() for receiver in receivers)
    patient.load()
    impatient.load()
    made = Inputs(rng)
    answers = 0
    try:
        while answers < inputs:
            answers += asyncio.run(_conversations(patient, impatient, made, inputs - answers))
            below.log.must_balance(below.tally)
    finally:
        for receiver in receivers:
            receiver.close()
        below.close()
    return answers


async def _conversations(patient: uvicorn.Config, impatient: uvicorn.Config, made: Inputs, inputs: int) -> int:
    state = ServerState()
    answers = 0
    rounds = 0
    while answers < inputs and rounds < 20:
        rounds += 1
        conversations = min(CONVERSATIONS, -(-(inputs - answers) // REQUESTS_EDITED))
        edited = [made.rng.random() < 0.8 for _ in range(conversations)]
        answers += sum(
            await asyncio.gather(
                *(_conversation(impatient if edits else patient, state, made, edited=edits) for edits in edited)
            )
        )
        until_idle = asyncio.gather(*state.tasks)
        await asyncio.wait_for(until_idle, PATIENCE_S)
        assert not state.connections
    return answers


async def _conversation(config: uvicorn.Config, state: ServerState, made: Inputs, *, edited: bool) -> int:
    """One connection; returns how many requests were answered, at least 1. Whole streams must be answered whole."""
    rng = made.rng
    protocol: Any = config.http_protocol_class(config=config, server_state=state, app_state={})  # type: ignore[operator, call-arg, unused-ignore]
    transport = Transport(protocol)
    protocol.connection_made(transport)
    data = stream(made, requests=REQUESTS_EDITED, edited=edited)
    waits_for_server = not edited or rng.random() < 0.02
    at = 0
    while at < len(data) and not transport.closing:
        await transport.readable()
        size = rng.choice((1, 7, 100, 1000, 70_000, 70_000))
        protocol.data_received(data[at : at + size])
        at += size
        if rng.random() < 0.2:
            await asyncio.sleep(0)
    try:
        await asyncio.wait_for(transport.closed.wait(), PATIENCE_S if waits_for_server else 0.2)
    except TimeoutError:
        assert not waits_for_server, ("a connection hangs", data.hex())
        protocol.eof_received()
        transport.close()
        await transport.closed.wait()
    answers = len(codes(bytes(transport.written)))
    assert edited or answers == REQUESTS_EDITED + 1, data.hex()
    return max(1, answers)


class Transport(asyncio.Transport):
    """A connection's server side, in memory."""

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self._protocol = protocol
        self._reading = asyncio.Event()
        self._reading.set()
        self.written = bytearray()
        self.closing = False
        self.closed = asyncio.Event()

    async def readable(self) -> None:
        """Returns when bytes may be fed, or none ever again."""
        if not self._reading.is_set():
            await asyncio.wait_for(self._reading.wait(), PATIENCE_S)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if not self.closed.is_set():
            self.written += data

    def close(self) -> None:
        if not self.closing:
            self.closing = True
            self._reading.set()
            asyncio.get_running_loop().call_soon(self._lose)

    abort = close

    def _lose(self) -> None:
        self.closed.set()
        self._protocol.connection_lost(None)

    def is_closing(self) -> bool:
        return self.closing

    def pause_reading(self) -> None:
        self._reading.clear()

    def resume_reading(self) -> None:
        self._reading.set()

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default
