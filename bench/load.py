"""`python -m bench.load HOST:PORT FILE [--loop-s S]`: the load generator, a process of its own.

Sends the requests of a file over gRPC, eight in flight, and prints one JSON object. What is pushed back is sent again
until it is taken, as an OpenTelemetry exporter does.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import grpc

from bench.spans import read

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
IN_FLIGHT = 8
_PUSHED_BACK = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_WAIT_S = 0.05
_DEADLINE_S = 60.0


@dataclass(slots=True)
class Sent:
    """What was acknowledged, and how often the receiver pushed back."""

    requests: int = 0
    bytes: int = 0
    pushed_back: int = 0
    elapsed_s: float = 0.0


def send(address: str, bodies: list[bytes], *, loop_s: float = 0.0) -> Sent:
    """Send all requests once, or again and again for `loop_s` seconds.

    Raises:
        grpc.RpcError: the receiver refused a request for good.
    """
    options = [("grpc.max_send_message_length", -1)]
    sent = Sent()
    with grpc.insecure_channel(address, options=options) as channel:
        export: Any = channel.unary_unary(EXPORT, request_serializer=None, response_deserializer=None)
        started_s = time.perf_counter()
        under_way: deque[tuple[bytes, Any]] = deque()
        while True:
            for body in bodies:
                under_way.append((body, export.future(body, timeout=_DEADLINE_S)))
                if len(under_way) >= IN_FLIGHT:
                    _settle(export, under_way, sent)
            if time.perf_counter() - started_s >= loop_s:
                break
        while under_way:
            _settle(export, under_way, sent)
        sent.elapsed_s = time.perf_counter() - started_s
    return sent


def _settle(export: Any, under_way: deque[tuple[bytes, Any]], sent: Sent) -> None:
    """Wait for the oldest request, and send it again in its own place until it is taken: never more are in flight."""
    body, call = under_way.popleft()
    while (error := call.exception()) is not None:
        if error.code() not in _PUSHED_BACK:
            raise error
        sent.pushed_back += 1
        time.sleep(_WAIT_S)
        call = export.future(body, timeout=_DEADLINE_S)
    sent.requests += 1
    sent.bytes += len(body)


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("address")
    parser.add_argument("file", type=Path)
    parser.add_argument("--loop-s", type=float, default=0.0)
    options = parser.parse_args()
    print(json.dumps(asdict(send(options.address, list(read(options.file)), loop_s=options.loop_s))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
