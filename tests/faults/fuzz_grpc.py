"""gRPC calls by grpcio's own client, and HTTP/2 frames written by hand, on the real port."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any

import grpc

from ingest.status import PROTOBUF
from schemas.signals import NAMES, Signal
from tests.faults.fuzz_http import to_the_end
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
    until,
)
from tests.otlp_requests import mutate
from tests.receivers_under_test import CHANNEL, Served, serving

CALLS = 128
CONNECTIONS = 96
# gRPC's library cancels calls at random once about 1000 wait unread.
STREAM_CONNECTIONS = 12
STREAMS = 64
# Below the window that a connection starts with, so that we need not wait for more.
SENT_BYTES = 60_000
HANG_UP_S = 0.2
# After so many connections the log is held against what was answered.
ROUND = 40
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS_FRAME, PUSH, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM, END_HEADERS, PADDED = 0x1, 0x4, 0x8
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_COMPRESSIONS = (grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate)


def grpc_calls(rng: random.Random, inputs: int, folder: Path) -> int:
    """Edited messages through grpcio's client, each answered as it must be, and kept if it was accepted."""
    log = KeptLog(folder)
    made = Inputs(rng)
    expected = Expected()
    sent = 0
    try:
        with serving(log.writer, **SETTINGS.model_dump()) as served:
            target = f"127.0.0.1:{served.receivers.grpc_port}"
            with grpc.insecure_channel(target, options=CHANNEL) as channel:
                exports: dict[Signal, Any] = {
                    signal: channel.unary_unary(f"/{names.grpc_service}/Export") for signal, names in NAMES.items()
                }
                under_way: deque[tuple[Any, Signal, bytes, str]] = deque()
                while sent < inputs or under_way:
                    if sent == inputs or len(under_way) == CALLS:
                        _must_be_answered(*under_way.popleft(), expected)
                        continue
                    sent += 1
                    (signal, body), tenant = made.message(), made.tenant()
                    call = exports[signal].future(
                        body,
                        timeout=PATIENCE_S,
                        metadata=(("x-tenant-id", tenant),) if tenant else None,
                        compression=rng.choice(_COMPRESSIONS),
                    )
                    under_way.append((call, signal, body, tenant))
            must_be_idle(served.receivers.tally)
            log.must_hold(expected)
            must_be_faultless(served.receivers.tally)
    finally:
        log.close()
    return sent


def _must_be_answered(call: Any, signal: Signal, body: bytes, tenant: str, expected: Expected) -> None:
    error = call.exception()
    _, verdict = answered(signal, PROTOBUF, "", body, tenant)
    if verdict is None:
        assert error is not None, body.hex()
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, (error.code(), error.details(), body.hex())
    else:
        assert error is None, (error.code(), error.details(), body.hex())
        expected.keep(signal, tenant, verdict)


def grpc_streams(rng: random.Random, inputs: int, folder: Path) -> int:
    """Whole HTTP/2 streams with edited messages, dozens on a connection; our own counts must be those expected."""
    log = KeptLog(folder)
    made = Inputs(rng, max_bytes=800)
    expected = Expected()
    outcomes: Counter[str] = Counter()
    sent = 0
    try:
        with serving(log.writer, **SETTINGS.model_dump()) as served:
            tally = served.receivers.tally

            def counted() -> Counter[str]:
                found: Counter[str] = Counter()
                for labels, count in tally.of("requests").items():
                    found[dict(labels)["outcome"]] += count
                return found

            while sent < inputs:
                under_way: deque[tuple[socket.socket, int]] = deque()
                for _ in range(min(ROUND, -(-(inputs - sent) // STREAMS))):
                    if len(under_way) == STREAM_CONNECTIONS:
                        _must_end_all(*under_way.popleft())
                    data = bytearray(opening())
                    streams = 0
                    while streams < STREAMS and len(data) < SENT_BYTES:
                        (signal, body), tenant = made.message(), made.tenant()
                        data += b"".join(export(2 * streams + 1, signal, body, tenant))
                        streams += 1
                        _, verdict = answered(signal, PROTOBUF, "", body, tenant)
                        if verdict is None:
                            outcomes["malformed"] += 1
                        else:
                            outcomes["partial" if verdict.rejected else "accepted"] += 1
                            expected.keep(signal, tenant, verdict)
                    under_way.append((connected(served, bytes(data)), streams))
                    sent += streams
                while under_way:
                    _must_end_all(*under_way.popleft())
                must_be_idle(tally)
                until(lambda: counted() == outcomes, lambda: f"outcomes: {outcomes} expected, {counted()} found")
                log.must_hold(expected)
                must_be_faultless(tally)
    finally:
        log.close()
    return sent


def _must_end_all(connection: socket.socket, streams: int) -> None:
    """Every stream is answered to its end; then the server may say that it needs no more of it (RFC 9113, 8.1)."""
    received = b""
    ended: set[int] = set()
    with connection:
        while len(ended) < streams:
            part = connection.recv(65536)
            assert part, f"the server closed with {streams - len(ended)} calls open"
            received += part
            while len(received) >= 9 and len(received) >= 9 + (length := int.from_bytes(received[:3], "big")):
                kind, flags, stream = received[3], received[4], int.from_bytes(received[5:9], "big")
                assert kind != GOAWAY, received[: 9 + length].hex()
                assert kind != RST_STREAM or stream in ended, received[: 9 + length].hex()
                if kind in (DATA, HEADERS) and flags & END_STREAM:
                    ended.add(stream)
                received = received[9 + length :]


def grpc_frames(rng: random.Random, inputs: int, folder: Path) -> int:
    """HTTP/2 frames edited, reordered, doubled and cut; an input is one connection's frames. The server goes on."""
    log = KeptLog(folder)
    made = Inputs(rng, max_bytes=800)
    sent = 0
    try:
        with serving(log.writer, **IMPATIENT.model_dump()) as served:
            while sent < inputs:
                under_way: deque[tuple[float, socket.socket]] = deque()
                for _ in range(min(ROUND * STREAM_CONNECTIONS, inputs - sent)):
                    if len(under_way) == CONNECTIONS:
                        _hung_up(*under_way.popleft())
                    sent += 1
                    under_way.append((time.monotonic(), connected(served, edited_frames(made))))
                while under_way:
                    _hung_up(*under_way.popleft())
                log.must_balance(served.receivers.tally)
                assert log.items, "no frames were understood: this test would find nothing"
            signal, body = Signal.LOGS, b"\x0a\x02\x12\x00"
            assert served.export(signal, body).status is grpc.StatusCode.OK
    finally:
        log.close()
    return sent


def _hung_up(opened_at: float, connection: socket.socket) -> None:
    with connection:
        connection.settimeout(max(0.001, opened_at + HANG_UP_S - time.monotonic()))
        try:
            while connection.recv(65536):
                pass
        except TimeoutError:
            connection.shutdown(socket.SHUT_WR)
        except ConnectionResetError:
            return
        connection.settimeout(PATIENCE_S)
        to_the_end(connection)


def connected(served: Served, data: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", served.receivers.grpc_port), timeout=PATIENCE_S)
    # It may refuse before all was sent; what it says is read all the same.
    with contextlib.suppress(OSError):
        connection.sendall(data)
    return connection


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + struct.pack(">I", stream) + payload


def opening() -> bytes:
    return PREFACE + frame(SETTINGS_FRAME, 0, 0, b"") + frame(SETTINGS_FRAME, 1, 0, b"")


def export(stream: int, signal: Signal, body: bytes, tenant: str) -> list[bytes]:
    """One call's frames."""
    head = header_block(signal, tenant)
    message = b"\x00" + struct.pack(">I", len(body)) + body
    return [frame(HEADERS, END_HEADERS, stream, head), frame(DATA, END_STREAM, stream, message)]


def header_block(signal: Signal, tenant: str) -> bytes:
    """HPACK (RFC 7541) without tables and without Huffman's code."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", f"/{NAMES[signal].grpc_service}/Export"),
        (":authority", "localhost"),
        ("te", "trailers"),
        ("content-type", "application/grpc"),
    ]
    if tenant:
        fields.append(("x-tenant-id", tenant))
    return b"".join(b"\x00" + _string(name) + _string(value) for name, value in fields)


def _string(text: str) -> bytes:
    size = len(text)
    return (bytes((size,)) if size < 127 else bytes((127, size - 127))) + text.encode()


def edited_frames(made: Inputs) -> bytes:
    """A connection's opening and a few calls, with frames edited and strange ones among them; one in ten untouched."""
    rng = made.rng
    frames: list[bytes] = []
    for number in range(rng.choice((1, 2, 6))):
        frames += export(2 * number + 1, *made.message(), made.tenant())
    if rng.random() < 0.1:
        return opening() + b"".join(frames)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at = rng.randrange(len(frames))
        if len(frames[at]) < 9:
            continue
        match rng.randrange(9):
            case 0:
                frames.insert(at, strange_frame(rng))
            case 1:
                frames.insert(at, frames[rng.randrange(len(frames))])
            case 2:
                frames[at] = frames[at][: rng.randrange(9)] if rng.random() < 0.3 else frames[at][:9]
            case 3:  # another kind, other flags, another stream
                changed = bytearray(frames[at][:9])
                changed[rng.choice((3, 4, 4, 8))] = rng.choice((0, 1, 2, 3, 4, 5, 8, 9, 0x0C, 0x2D, 0xFF))
                frames[at] = bytes(changed) + frames[at][9:]
            case 4:  # a length that lies
                length = max(0, len(frames[at]) - 9 + rng.choice((-5, -1, 1, 9, 20_000)))
                frames[at] = length.to_bytes(3, "big") + frames[at][3:]
            case 5:  # a message whose prefix lies: its compression flag or its length
                prefix = bytes((rng.choice((0, 1, 2, 255)),)) + struct.pack(">I", rng.choice((0, 1, 10**6, 2**32 - 1)))
                frames[at] = frames[at][:9] + prefix + frames[at][14:]
            case 6:  # one frame as two
                head, payload = frames[at][:9], frames[at][9:]
                middle = len(payload) // 2
                kind = CONTINUATION if head[3] == HEADERS else head[3]
                first = frame(head[3], rng.choice((0, head[4])), head[8], payload[:middle])
                frames[at : at + 1] = [first, frame(kind, head[4], head[8], payload[middle:])]
            case _:
                frames[at] = frames[at][:9] + mutate(rng, frames[at][9:])
    data = b"".join(frames)
    if rng.random() < 0.2:
        data = mutate(rng, data)
    return mutate(rng, opening()) + data if rng.random() < 0.05 else opening() + data


def strange_frame(rng: random.Random) -> bytes:
    stream = rng.choice((0, 1, 2, 3, 2**31 - 1))
    match rng.randrange(8):
        case 0:
            return frame(PING, rng.choice((0, 1)), 0, rng.randbytes(rng.choice((8, 8, 7)))) * rng.choice((1, 50))
        case 1:
            return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", rng.choice((0, 1, 2**31 - 1))))
        case 2:
            return frame(RST_STREAM, 0, stream, struct.pack(">I", rng.randrange(15)))
        case 3:
            setting = struct.pack(">HI", rng.choice((1, 2, 3, 4, 5, 6, 99)), rng.choice((0, 1, 16384, 2**32 - 1)))
            return frame(SETTINGS_FRAME, 0, rng.choice((0, 0, 1)), setting * rng.choice((1, 20)))
        case 4:
            return frame(GOAWAY, 0, 0, struct.pack(">II", stream, 0) + b"bye")
        case 5:
            return frame(PRIORITY, 0, stream, struct.pack(">IB", rng.choice((0, stream)), 7))
        case 6:
            return frame(rng.choice((CONTINUATION, PUSH, 77)), rng.randrange(256), stream, rng.randbytes(10))
        case _:
            return frame(DATA, PADDED, stream, bytes((rng.choice((0, 3, 255)),)) + bytes(5)) * rng.choice((1, 20))
