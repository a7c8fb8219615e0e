"""OTLP requests as bytes to any gRPC receiver: ours or a Collector's."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import grpc

from schemas.signals import Signal

_SERVICE = {
    Signal.TRACES: "trace.v1.TraceService",
    Signal.METRICS: "metrics.v1.MetricsService",
    Signal.LOGS: "logs.v1.LogsService",
}


class Exporting:
    """A channel to one receiver, ready when the block is entered."""

    def __init__(self, address: str, *, timeout_s: float = 60.0) -> None:
        self._channel = grpc.insecure_channel(address, [("grpc.max_send_message_length", 64 << 20)])
        self._timeout_s = timeout_s

    def export(self, signal: Signal, body: bytes, metadata: dict[str, str] | None = None) -> bytes:
        """Send one request; the response's bytes.

        Raises:
            grpc.RpcError: refused.
        """
        call: Any = self._channel.unary_unary(f"/opentelemetry.proto.collector.{_SERVICE[signal]}/Export")
        answer: bytes = call(body, timeout=self._timeout_s, metadata=tuple((metadata or {}).items()))
        return answer

    def __enter__(self) -> Self:
        grpc.channel_ready_future(self._channel).result(self._timeout_s)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()
