"""What a reader may say in ClickHouse's native protocol, read in full and written anew.

Layouts are those of protocol revisions 54459 to 54469 (src/Core/ProtocolDefines.h, src/Server/TCPHandler.cpp and
src/Interpreters/ClientInfo.cpp of ClickHouse): among them no packet of a client differs.

No byte of a client reaches the engine as it came: a packet is read to its end, and a packet of ours with the same
meaning is sent, which the engine cannot read in another way than we did. A Query and the empty block that ends its
tables are sent together. While the engine waits for that block, another Query with a value that it cannot parse makes
it go on in the middle of the packet, where a later string of it may hold a statement that nobody has checked
(tests/contract/test_gate_native_engine.py does so).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TypeAlias

OLDEST_REVISION = 54459
# 54470 wraps packets into chunks.
NEWEST_REVISION = 54469
MAX_STATEMENT_BYTES = 256 * 1024
MAX_PACKET_BYTES = 512 * 1024

HELLO, QUERY, DATA, CANCEL, PING = 0, 1, 2, 3, 4
EXCEPTION = 2
# ClickHouse's error codes (src/Common/ErrorCodes.cpp).
UNEXPECTED_PACKET, ACCESS_DENIED, AUTHENTICATION_FAILED = 101, 497, 516
TOO_MANY_QUERIES, NETWORK_ERROR = 202, 210

_NAME_BYTES = 256
_SETTING_BYTES = 16 * 1024
_PARAMETER_BYTES = 64 * 1024
_CHANGES_MAX = 128
_INITIAL_QUERY, _OVER_TCP, _COMPLETE = 1, 1, 2
# A block without columns and rows: is_overflows, bucket_num and the end of BlockInfo, then two zeros.
_EMPTY_BLOCK = bytes.fromhex("010002ffffffff000000")
# The same as one uncompressed frame behind its CityHash128; a frame of ten bytes can hold no other block.
_EMPTY_FRAME = bytes.fromhex("bb9489a1c169e900ecaff168956a647402130000000a000000") + _EMPTY_BLOCK
_FRAME_HEAD = struct.Struct("<16xBII")
_CODECS = frozenset({0x02, 0x82, 0x90})
_LONGEST_FRAME_BYTES = 64
_IMPORTANT_OR_CUSTOM = 3


# A setting or a parameter: name, flags and value.
Change: TypeAlias = tuple[str, int, str]


class IncompleteError(Exception):
    """The packet goes on past the bytes at hand; it has at least `size_bytes`."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(size_bytes)
        self.size_bytes = size_bytes


class RefusedError(Exception):
    """What the client is told: `code` is one of ClickHouse's, the text says which rule was not kept."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Cursor:
    """Reads from the beginning of `data`; every method raises IncompleteError at its end."""

    def __init__(self, data: bytes | bytearray) -> None:
        self._data = data
        self.position = 0

    def raw(self, size_bytes: int) -> bytes:
        """The next bytes."""
        end = self.position + size_bytes
        if end > MAX_PACKET_BYTES:
            raise RefusedError(UNEXPECTED_PACKET, f"a packet has at most {MAX_PACKET_BYTES} bytes, received {end}")
        if end > len(self._data):
            raise IncompleteError(end)
        taken = bytes(self._data[self.position : end])
        self.position = end
        return taken

    def byte(self) -> int:
        """The next byte."""
        return self.raw(1)[0]

    def number(self) -> int:
        """A variable-length number; refused past nine bytes, which hold 63 bits."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift == 63:
                raise RefusedError(UNEXPECTED_PACKET, "a number has at most 9 bytes, received more")

    def string(self, name: str, most_bytes: int = _NAME_BYTES) -> str:
        """A string of at most `most_bytes`, in UTF-8 and without NUL; refused otherwise, by its `name`."""
        size_bytes = self.number()
        if size_bytes > most_bytes:
            raise RefusedError(
                UNEXPECTED_PACKET, f"{name}: must have at most {most_bytes} bytes, received {size_bytes}"
            )
        try:
            text = self.raw(size_bytes).decode("utf-8")
        except UnicodeDecodeError as error:
            raise RefusedError(
                UNEXPECTED_PACKET, f"{name}: must be UTF-8, received byte {error.object[error.start]}"
            ) from error
        if "\0" in text:
            raise RefusedError(UNEXPECTED_PACKET, f"{name}: must not hold NUL, received one at {text.index(chr(0))}")
        return text


def varint(value: int) -> bytes:
    """A number of variable length, seven bits a byte, the lowest first."""
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def string(text: str | bytes) -> bytes:
    """A string behind its length."""
    data = text.encode() if isinstance(text, str) else text
    return varint(len(data)) + data


def exception(code: int, sentence: str) -> bytes:
    """The packet that tells a client of an error."""
    message = f"DB::Exception: {sentence}"
    return varint(EXCEPTION) + struct.pack("<i", code) + string("DB::Exception") + string(message) + b"\0\0"


@dataclass(frozen=True, slots=True)
class Hello:
    """A client's first packet."""

    client: str
    version: tuple[int, int]
    revision: int
    database: str
    user: str
    password: str

    @classmethod
    def read(cls, cursor: Cursor) -> Hello:
        """Behind the packet's number, which the caller has read."""
        return cls(
            cursor.string("client name"),
            (cursor.number(), cursor.number()),
            cursor.number(),
            cursor.string("database"),
            cursor.string("user"),
            cursor.string("password", 4096),
        )

    def encoded(self, *, user: str, password: str, revision: int) -> bytes:
        """The packet for the engine."""
        return b"".join(
            (
                varint(HELLO),
                string(self.client),
                *map(varint, self.version),
                varint(revision),
                *map(string, (self.database, user, password)),
            )
        )


@dataclass(frozen=True, slots=True)
class ServerHello:
    """The engine's first packet up to its revision; what follows is passed on as it is."""

    name: str
    version: tuple[int, int]
    revision: int

    @classmethod
    def read(cls, cursor: Cursor) -> ServerHello:
        """Behind the packet's number."""
        return cls(cursor.string("server name"), (cursor.number(), cursor.number()), cursor.number())

    def encoded(self, revision: int) -> bytes:
        """For the client, with a revision of ours."""
        return varint(HELLO) + string(self.name) + b"".join(map(varint, (*self.version, revision)))


@dataclass(frozen=True, slots=True)
class Query:
    """A client's Query; the engine checks its settings and reads its parameters."""

    query_id: str
    client: str
    version: tuple[int, int, int]
    settings: list[Change]
    compressed: bool
    statement: str
    parameters: list[Change]

    @classmethod
    def read(cls, cursor: Cursor) -> Query:
        """Behind the packet's number.

        Raises:
            RefusedError: what follows is not understood, so the connection cannot go on.
        """
        query_id = cursor.string("query_id")
        client, version = _client_info(cursor)
        settings = _changes(cursor, "setting", _SETTING_BYTES)
        if secret := cursor.string("interserver secret", 32):
            raise RefusedError(
                UNEXPECTED_PACKET, f"interserver secret: must be empty, received {len(secret)} characters"
            )
        if (stage := cursor.number()) != _COMPLETE:
            raise RefusedError(UNEXPECTED_PACKET, f"stage: must be {_COMPLETE} (complete), received {stage}")
        if (compression := cursor.number()) not in {0, 1}:
            raise RefusedError(UNEXPECTED_PACKET, f"compression: must be 0 or 1, received {compression}")
        statement = cursor.string("statement", MAX_STATEMENT_BYTES)
        parameters = _changes(cursor, "parameter", _PARAMETER_BYTES)
        return cls(query_id, client, version, settings, compression == 1, statement, parameters)

    def encoded(self) -> bytes:
        """The packets for the engine: this query, and that no tables come with it."""
        client_info = b"".join(
            (
                # Initial user and query, and an address that names nobody.
                bytes((_INITIAL_QUERY, 0, 0)), string("0.0.0.0:0"), bytes(8), bytes((_OVER_TCP, 0, 0)),
                string(self.client), *map(varint, (*self.version[:2], NEWEST_REVISION)),
                # No quota key, no distributed depth, the patch, no trace, no parallel replicas.
                bytes((0, 0)), varint(self.version[2]), bytes((0, 0, 0, 0)),
            )
        )  # fmt: skip
        return b"".join(
            (
                varint(QUERY), string(self.query_id), client_info,
                *map(_changed, self.settings), bytes((0, 0, _COMPLETE, self.compressed)),
                string(self.statement), *map(_changed, self.parameters), b"\0",
                varint(DATA), b"\0", _EMPTY_FRAME if self.compressed else _EMPTY_BLOCK,
            )
        )  # fmt: skip


def _client_info(cursor: Cursor) -> tuple[str, tuple[int, int, int]]:
    if (kind := cursor.byte()) != _INITIAL_QUERY:
        raise RefusedError(UNEXPECTED_PACKET, f"query kind: must be {_INITIAL_QUERY} (initial), received {kind}")
    for name in ("initial user", "initial query_id", "initial address"):
        cursor.string(name)
    cursor.raw(8)
    if (interface := cursor.byte()) != _OVER_TCP:
        raise RefusedError(UNEXPECTED_PACKET, f"interface: must be {_OVER_TCP} (TCP), received {interface}")
    cursor.string("user of the client's system")
    cursor.string("host name")
    client = cursor.string("client name")
    major, minor, _ = cursor.number(), cursor.number(), cursor.number()
    cursor.string("quota key")
    cursor.number()
    patch = cursor.number()
    if (traced := cursor.byte()) == 1:
        cursor.raw(24)
        cursor.string("trace state", 4096)
        cursor.raw(1)
    elif traced:
        raise RefusedError(UNEXPECTED_PACKET, f"trace context: must be announced by 0 or 1, received {traced}")
    for _ in range(3):
        if replicas := cursor.number():
            raise RefusedError(UNEXPECTED_PACKET, f"parallel replicas: must be 0, received {replicas}")
    return client, (major, minor, patch)


def _changes(cursor: Cursor, kind: str, most_bytes: int) -> list[Change]:
    changes: list[Change] = []
    while name := cursor.string(f"name of a {kind}"):
        if len(changes) == _CHANGES_MAX:
            raise RefusedError(UNEXPECTED_PACKET, f"{kind}s: must be at most {_CHANGES_MAX}, received more")
        flags = cursor.number() & _IMPORTANT_OR_CUSTOM
        changes.append((name, flags, cursor.string(f"{kind} {_shown(name)}", most_bytes)))
    return changes


def _changed(change: Change) -> bytes:
    name, flags, value = change
    return string(name) + varint(flags) + string(value)


def skip_empty_block(cursor: Cursor, *, compressed: bool) -> None:
    """Read a Data packet behind its number.

    Raises:
        RefusedError: it names a table or carries data.
    """
    if table := cursor.string("table of a Data packet"):
        raise RefusedError(ACCESS_DENIED, f"external table {_shown(table)}: readers cannot send data")
    if not compressed:
        block = cursor.raw(len(_EMPTY_BLOCK))
        if block[:3] != _EMPTY_BLOCK[:3] or block[7:] != _EMPTY_BLOCK[7:]:
            raise RefusedError(ACCESS_DENIED, "block of data: must be empty, readers cannot send data")
        return
    codec, frame_bytes, block_bytes = _FRAME_HEAD.unpack(cursor.raw(_FRAME_HEAD.size))
    if codec not in _CODECS or block_bytes != len(_EMPTY_BLOCK) or not 9 < frame_bytes <= _LONGEST_FRAME_BYTES:
        raise RefusedError(ACCESS_DENIED, "block of data: must be empty, readers cannot send data")
    cursor.raw(frame_bytes - 9)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 64 else f"{text[:64]}…")
