"""Clients that begin requests and do not end them, in raw bytes, from an address of their own on loopback."""

from __future__ import annotations

import socket
import struct

from schemas.signals import NAMES, Signal

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
SETTINGS_ACKNOWLEDGED = b"\x00\x00\x00\x04\x01\x00\x00\x00\x00"
EXPORT = f"/{NAMES[Signal.LOGS].grpc_service}/Export"
_DATA, _HEADERS, _END_STREAM, _END_HEADERS = 0, 1, 1, 4


def connect(port: int, source: str = "127.0.0.1") -> socket.socket:
    """A connection to loopback from `source`, another address of it."""
    return socket.create_connection(("127.0.0.1", port), timeout=20, source_address=(source, 0))


def http_request(tenant: str, sent: bytes, length: int) -> bytes:
    """The beginning of a request whose body is said to have `length` bytes."""
    head = "POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
    return f"{head}X-Tenant-Id: {tenant}\r\nContent-Length: {length}\r\n\r\n".encode() + sent


def grpc_calls(numbers: range, path: str = EXPORT, sent: bytes = b"half", length: int = 1000) -> bytes:
    """The beginnings of calls number `numbers` of a connection, each with `sent` of a message of `length` bytes."""
    return b"".join(
        _frame(_HEADERS, _END_HEADERS, number, _head(path, f"invented-{number}"))
        + _frame(_DATA, 0, number, struct.pack(">BI", 0, length) + sent)
        for number in numbers
    )


def grpc_rest(number: int, rest: bytes) -> bytes:
    """The end of call `number`."""
    return _frame(_DATA, _END_STREAM, number, rest)


def numbers(calls: int) -> range:
    """The stream identifiers of a client's first calls."""
    return range(1, 2 * calls + 1, 2)


def _head(path: str, tenant: str) -> bytes:
    fields = {
        ":method": "POST",
        ":scheme": "http",
        ":path": path,
        ":authority": "localhost",
        "te": "trailers",
        "content-type": "application/grpc",
        "x-tenant-id": tenant,
    }
    # RFC 7541, 6.2.2: literals without indexing, names and values as they are.
    return b"".join(
        b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
        for name, value in fields.items()
    )


def _frame(kind: int, flags: int, number: int, payload: bytes) -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", number) + payload
