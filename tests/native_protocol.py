"""ClickHouse's native protocol as a client speaks it, by hand: packets that no real client would send, too.

Written from the layouts of ClickHouse (ClientInfo.cpp, TCPHandler.cpp) and apart from the gate's own code.
"""

from __future__ import annotations

import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

REVISION = 54469
EMPTY_BLOCK = bytes.fromhex("010002ffffffff000000")
EMPTY_DATA = b"\x02\x00" + EMPTY_BLOCK
PING, PONG, CANCEL = b"\x04", b"\x04", b"\x03"
END_OF_STREAM = b"\x05"
# Six zeros: rows and bytes read, their totals, rows and bytes written; then the time.
_LAST_PACKETS = re.compile(rb"\x03\x00{6}[\x80-\xff]*[\x00-\x7f]\x05\Z")


def number(value: int) -> bytes:
    """A variable-length number."""
    return number_of(value) if value >= 0x80 else bytes((value,))


def number_of(value: int) -> bytes:
    """The same for two bytes and more."""
    return bytes((value & 0x7F | 0x80,)) + number(value >> 7)


def text(value: str | bytes) -> bytes:
    """A string behind its length."""
    data = value.encode() if isinstance(value, str) else value
    return number(len(data)) + data


def hello(
    user: str = "default", password: str = "", *, revision: int = REVISION, database: str = "", client: str = "by hand"
) -> bytes:
    """A client's first packet."""
    head = b"\x00" + text(client) + number(26) + number(9) + number(revision)
    return head + text(database) + text(user) + text(password)


def client_info(
    *, kind: int = 1, interface: int = 1, address: str = "0.0.0.0:0", trace: bytes = b"\x00", replicas: int = 0
) -> bytes:
    """What a client says of itself in each query."""
    head = bytes((kind,)) + text("") + text("") + text(address) + struct.pack("<q", 0) + bytes((interface,))
    who = text("me") + text("here") + text("by hand") + number(26) + number(9) + number(REVISION)
    return head + who + text("") + number(0) + number(2) + trace + number(replicas) + number(0) + number(0)


def changes(given: Iterable[tuple[str | bytes, int, str | bytes]]) -> bytes:
    """Settings or parameters: name, flags, value; and their end."""
    return b"".join(text(name) + number(flags) + text(value) for name, flags, value in given) + b"\x00"


def query(
    statement: str | bytes,
    *,
    settings: Iterable[tuple[str | bytes, int, str | bytes]] = (),
    parameters: Iterable[tuple[str | bytes, int, str | bytes]] = (),
    info: bytes | None = None,
    secret: str = "",
    stage: int = 2,
    compression: int = 0,
) -> bytes:
    """A Query, without the Data that ends its tables."""
    head = b"\x01" + text("") + (client_info() if info is None else info) + changes(settings) + text(secret)
    return head + number(stage) + number(compression) + text(statement) + changes(parameters)


def hidden_query(statement: str) -> bytes:
    """A Query whose first setting cannot be parsed, with Data and another Query laid into its further settings.

    One that reads it in full finds settings; one that stops at the first value and reads on finds `statement`.
    """
    inner = client_info()[1:]
    # After kind: an initial user of one letter, so that no empty name ends the settings too early.
    laid = b"\x02\x00\x00\x00\x00" + text(b"\x00") + b"\x01" + text("u") + text("i") + inner[2:]
    tail = changes(()) + text("") + b"\x02\x00" + text(statement) + changes(()) + EMPTY_DATA
    return b"\x01" + text("") + client_info() + text("max_block_size") + b"\x00" + text("abc") + laid + tail


@dataclass(frozen=True)
class Refusal:
    """An Exception packet."""

    code: int
    message: str

    @classmethod
    def read(cls, answer: bytes) -> Self:
        """The first packet of `answer`, which must be one."""
        assert answer[:1] == b"\x02", answer[:80]
        (code,) = struct.unpack_from("<i", answer, 1)
        name, at = _text(answer, 5)
        message, at = _text(answer, at)
        assert name == "DB::Exception"
        return cls(code, message)


def _text(data: bytes, at: int) -> tuple[str, int]:
    size_bytes = shift = 0
    while True:
        byte = data[at]
        size_bytes |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return data[at : at + size_bytes].decode(), at + size_bytes


class ByHand:
    """A connection on which packets are written by hand; also a context manager."""

    def __init__(self, port: int, *, timeout_s: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)

    def greet(self, **given: str) -> bytes:
        """Log in as `default`; what the server answered."""
        self.send(hello(**given))
        answer = self.socket.recv(1 << 16)
        self.send(text(""))
        return answer

    def send(self, *packets: bytes) -> None:
        """All at once."""
        self.socket.sendall(b"".join(packets))

    def until(self, end: bytes) -> bytes:
        """What comes until a part of an answer ends with `end`, or the connection does."""
        answer = b""
        while not answer.endswith(end) and (data := self.socket.recv(1 << 16)):
            answer += data
        return answer

    def answer(self) -> bytes:
        """All of the answer to a query of rows, whose last packets are a Progress of nothing more and EndOfStream."""
        answer = bytearray()
        while not _LAST_PACKETS.search(answer, max(0, len(answer) - 32)):
            data = self.socket.recv(1 << 20)
            assert data, f"the answer ended with {bytes(answer[-200:])!r}"
            answer += data
        return bytes(answer)

    def rest(self) -> bytes:
        """What comes until the server ends the connection."""
        answer = b""
        try:
            while data := self.socket.recv(1 << 16):
                answer += data
        except ConnectionResetError:
            pass
        return answer

    def close(self) -> None:
        """Let go."""
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
