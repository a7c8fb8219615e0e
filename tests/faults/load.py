"""A client that knows for every item what became of it: sends OTLP without pause and reports every answer.

Usage: load.py GRPC_PORT HTTP_PORT REPORTS REQUESTS_PER_S FIRST. Runs until SIGTERM. Every item carries its number,
unique in its signal and counted from FIRST, in the attribute `load.id`. A request that was not acknowledged is never
sent again: the next one has new numbers.
Reports are lines, each written by one system call once the answer is known:
`SIGNAL FIRST LAST OUTCOME AT_NS`, where AT_NS is of the monotonic clock, which all processes of a machine share.
OUTCOME is `acked`; `refused`, when the receiver itself said that nothing was taken; `unknown`, when the connection
died, the answer was a time-out, or Kafka failed a request that it had been sent; or `partial`.
"""

from __future__ import annotations

import http.client
import os
import signal as signals
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from schemas.signals import NAMES, Signal

ITEMS = 30
# A client's numbers begin at a multiple of this and stay below the next.
BLOCK = 1_000_000_000
SERVICES = ("load-cart", "load-checkout", "load-payment")
_DAY_NS = 86_400 * 10**9
_TIMEOUT_S = 40.0
# A refused or lost request is followed by the next after this, so that an outage is not a busy loop.
_PAUSE_S = 0.02
_CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 100),
]


def text(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def resource(number: int) -> Resource:
    service = SERVICES[number // ITEMS % len(SERVICES)]
    return Resource(attributes=[text("service.name", service), text("service.version", f"1.{number // ITEMS % 2}")])


def time_of(number: int) -> int:
    """Now, one item in ten up to two days ago: a batch has parts in several partitions, which are inserted in turn."""
    return time.time_ns() - (0, 1, 2)[number % 3] * _DAY_NS * (number % 10 == 0)


def traces(first: int) -> bytes:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add(resource=resource(first))
    spans = group.scope_spans.add().spans
    for number in range(first, first + ITEMS):
        start = time_of(number)
        span = spans.add(
            # Six spans a trace, over several requests and so over several batches.
            trace_id=(number // 2 % 5 + number // 90 * 5).to_bytes(16, "big"),
            span_id=(number + 1).to_bytes(8, "big"),
            name=f"operation {number % 4}",
            kind=(Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)[number % 2],
            start_time_unix_nano=start,
            end_time_unix_nano=start + number % 1000 * 1_000_003,
            attributes=[text("load.id", str(number)), text("http.route", "/api/cart")],
        )
        if number % 20 == 0:
            span.status.code = Status.STATUS_CODE_ERROR
            span.events.add(time_unix_nano=start, name="exception")
    return request.SerializeToString()


def logs(first: int) -> bytes:
    request = ExportLogsServiceRequest()
    group = request.resource_logs.add(resource=resource(first))
    records = group.scope_logs.add().log_records
    for number in range(first, first + ITEMS):
        records.add(
            time_unix_nano=time_of(number),
            severity_number=(9, 13, 17)[number % 3],
            severity_text=("INFO", "WARN", "ERROR")[number % 3],
            body=AnyValue(string_value=f"order {number} was placed"),
            attributes=[text("load.id", str(number))],
        )
    return request.SerializeToString()


def metrics(first: int) -> bytes:
    """Points of all five kinds: a batch is written to five tables."""
    request = ExportMetricsServiceRequest()
    group = request.resource_metrics.add(resource=resource(first))
    scope = group.scope_metrics.add()
    kinds = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    all_of_kind = [getattr(scope.metrics.add(name=f"load.{kind}"), kind).data_points for kind in kinds]
    for number in range(first, first + ITEMS):
        kind = number % len(kinds)
        point = all_of_kind[kind].add(time_unix_nano=time_of(number), attributes=[text("load.id", str(number))])
        if kind < 2:
            point.as_double = number / 7
            continue
        point.count, point.sum = 3, 1.5
        if kind == 2:
            point.explicit_bounds.append(1.0)
            point.bucket_counts.extend([1, 2])
    return request.SerializeToString()


def refusal(details: bytes) -> str:
    """The outcome that a refusal of the receiver's own tells; `details` holds the text of its status."""
    if b"append_timeout_s" in details:
        return "unknown"
    # Brokers may have kept what they did not acknowledge, unless the circuit was open: then they were not asked.
    return "unknown" if b"kafka: " in details and b"circuit: " not in details else "refused"


def grpc_outcome(error: grpc.RpcError) -> str:
    """Only the receiver's own refusals carry a google.rpc.Status; what the transport says is no answer."""
    call: grpc.Call = error  # type: ignore[assignment]
    details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin")
    return refusal(details) if details else "unknown"


class Sender:
    """Sends one signal's requests one after the other and reports the answers."""

    def __init__(
        self, signal: Signal, make: Callable[[int], bytes], send: Callable[[bytes], str], reports: int
    ) -> None:
        self._signal, self._make, self._send, self._reports = signal, make, send, reports

    def run(self, stop: threading.Event, pause_s: float, first: int) -> None:
        while not stop.is_set():
            outcome = self._send(self._make(first))
            line = f"{self._signal} {first} {first + ITEMS - 1} {outcome} {time.monotonic_ns()}\n"
            os.write(self._reports, line.encode())
            first += ITEMS
            stop.wait(pause_s if outcome == "acked" else max(pause_s, _PAUSE_S))


def over_grpc(port: int, signal: Signal) -> Callable[[bytes], str]:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=_CHANNEL)
    export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{NAMES[signal].grpc_service}/Export")

    def send(body: bytes) -> str:
        try:
            answer = export(body, timeout=_TIMEOUT_S)
        except grpc.RpcError as error:
            return grpc_outcome(error)
        return "acked" if answer == b"" else "partial"

    return send


def over_http(port: int, signal: Signal) -> Callable[[bytes], str]:
    headers = {"Content-Type": "application/x-protobuf"}
    connection: http.client.HTTPConnection | None = None

    def send(body: bytes) -> str:
        nonlocal connection
        try:
            connection = connection or http.client.HTTPConnection("127.0.0.1", port, timeout=_TIMEOUT_S)
            connection.request("POST", NAMES[signal].http_path, body, headers)
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            if connection is not None:
                connection.close()
            connection = None
            return "unknown"
        if response.status == 200:
            return "acked" if answer == b"" else "partial"
        return refusal(answer) if response.status in {429, 503} else "unknown"

    return send


def main(grpc_port: int, http_port: int, reports: Path, requests_per_s: float, first: int) -> None:
    stop = threading.Event()
    signals.signal(signals.SIGTERM, lambda *_: stop.set())
    out = os.open(reports, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    senders = [
        Sender(Signal.TRACES, traces, over_grpc(grpc_port, Signal.TRACES), out),
        Sender(Signal.LOGS, logs, over_grpc(grpc_port, Signal.LOGS), out),
        Sender(Signal.METRICS, metrics, over_http(http_port, Signal.METRICS), out),
    ]
    threads = [threading.Thread(target=sender.run, args=(stop, 1 / requests_per_s, first)) for sender in senders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
