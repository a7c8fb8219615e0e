"""Real receivers on free ports, and clients that show all that a client may see."""

from __future__ import annotations

import http.client
import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
from google.rpc import error_details_pb2, status_pb2

from ingest.serve import Receivers
from ingest.settings import IngestSettings
from schemas.log import LogWriter
from schemas.settings import RetentionSettings
from schemas.signals import NAMES, Signal
from tests.memory_log import MemoryLog
from tests.otlp_requests import NOW_NS, encode, items, request

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
# Without a pool of its own, a channel would share the connection of every other channel to the same port.
CHANNEL = [("grpc.max_send_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]


@dataclass(frozen=True)
class Answered:
    """What a client sees of one request over either transport."""

    status: int | grpc.StatusCode
    body: bytes
    headers: dict[str, str]
    error: status_pb2.Status | None

    @property
    def retry_delay_s(self) -> float | None:
        """RetryInfo of the error; None without one."""
        for detail in self.error.details if self.error else ():
            hint = error_details_pb2.RetryInfo()
            if detail.Unpack(hint):
                return float(hint.retry_delay.ToNanoseconds() / 1e9)
        return None


class Served:
    """Running receivers and their log."""

    def __init__(self, receivers: Receivers, log: Any) -> None:
        self.receivers = receivers
        self.log = log

    def post(self, signal: Signal, body: Any, media: str = PROTOBUF, **headers: str) -> Answered:
        """One HTTP request; an iterator is sent in chunks."""
        return self.call("POST", NAMES[signal].http_path, body, {"content-type": media, **headers})

    def call(self, method: str, path: str, body: Any, headers: dict[str, str]) -> Answered:
        """One HTTP request on a connection of its own."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.receivers.http_port, timeout=30)
        try:
            connection.request(method, path, body, named)
            response = connection.getresponse()
            content = response.read()
        finally:
            connection.close()
        given = {name.lower(): value for name, value in response.getheaders()}
        error = None
        if response.status >= 400 and given.get("content-type") == PROTOBUF:
            error = status_pb2.Status.FromString(content)
        return Answered(response.status, content, given, error)

    def export(
        self, signal: Signal, body: bytes, compression: grpc.Compression | None = None, **metadata: str
    ) -> Answered:
        """One gRPC request on a channel of its own."""
        with grpc.insecure_channel(f"127.0.0.1:{self.receivers.grpc_port}", options=CHANNEL) as channel:
            method: Any = channel.unary_unary(
                f"/{NAMES[signal].grpc_service}/Export", request_serializer=None, response_deserializer=None
            )
            pairs = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
            try:
                return Answered(
                    grpc.StatusCode.OK,
                    method(body, timeout=30, metadata=pairs, compression=compression),
                    {},
                    None,
                )
            except grpc.RpcError as error:
                trailers: dict[str, Any] = dict(cast("Any", error.trailing_metadata() or ()))
                details = trailers.get("grpc-status-details-bin")
                return Answered(error.code(), b"", trailers, status_pb2.Status.FromString(details) if details else None)

    def send_raw(self, data: bytes, *, end: bool = False) -> bytes:
        """All that the HTTP port answers to raw bytes until it closes the connection."""
        with socket.create_connection(("127.0.0.1", self.receivers.http_port), timeout=20) as connection:
            connection.sendall(data)
            if end:
                connection.shutdown(socket.SHUT_WR)
            received = b""
            while True:
                try:
                    part = connection.recv(65536)
                except ConnectionResetError:
                    return received
                if not part:
                    return received
                received += part


@contextmanager
def serving(log: LogWriter | None = None, **settings: Any) -> Iterator[Served]:
    """Receivers on free ports for the length of a test, with a clock that stands at the requests' time."""
    writer = log or MemoryLog()
    receivers = Receivers(
        writer,
        IngestSettings(**{"grpc_port": 0, "http_port": 0, "drain_timeout_s": 5.0, **settings}),
        RetentionSettings(),
        clock_ns=lambda: NOW_NS,
    )
    receivers.start()
    try:
        yield Served(receivers, writer)
    finally:
        receivers.stop()


def sample(signal: Signal, seed: int = 1, faults: float = 0.0) -> bytes:
    """A random request that holds at least one item, wanted or not."""
    rng = random.Random(seed)
    while True:
        message = request(rng, signal, faults=faults)
        if any(True for _ in items(message)):
            return encode(message)
