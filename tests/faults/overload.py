"""Many clients that send without pause and take no refusal to heart; each checks that it was told how to come back.

Usage: overload.py GRPC_PORT HTTP_PORT REPORTS CLIENTS FIRST. Runs until SIGTERM, and then writes beside the reports, as
JSON, how many requests were sent and how many of them refused. Reports are those of load.py, and
`unfit` for a refusal that does not tell a client to come back and when: over gRPC UNAVAILABLE or RESOURCE_EXHAUSTED
with RetryInfo, over HTTP 429 or 503 with Retry-After.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import signal as signals
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
from google.rpc import error_details_pb2, status_pb2

from schemas.signals import NAMES, Signal
from tests.faults.load import ITEMS, logs, metrics, refusal, traces

# Requests of one body: some 50 KB, so that bytes are short before threads are.
_TOGETHER = 10
# A refused request is sent again at once, this often, before it is given up; none of it may be there then.
_TRIES = 10
_BYTES = {Signal.TRACES: traces, Signal.LOGS: logs, Signal.METRICS: metrics}
_RETRYABLE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def over_grpc(port: int, signal: Signal) -> Callable[[bytes], str]:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
    export: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(f"/{NAMES[signal].grpc_service}/Export")

    def send(body: bytes) -> str:
        try:
            return "acked" if export(body, timeout=60) == b"" else "partial"
        except grpc.RpcError as error:
            call: grpc.Call = error  # type: ignore[assignment]
            details = dict(call.trailing_metadata() or ()).get("grpc-status-details-bin")
            if call.code() not in _RETRYABLE or not details:
                return "unfit"
            status = status_pb2.Status.FromString(details)
            hints = [each for each in status.details if each.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
            return refusal(details) if hints else "unfit"

    return send


def over_http(port: int, signal: Signal) -> Callable[[bytes], str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(body: bytes) -> str:
        try:
            connection.request("POST", NAMES[signal].http_path, body, {"Content-Type": "application/x-protobuf"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            return "unknown"
        if response.status == 200:
            return "acked" if answer == b"" else "partial"
        fit = response.status in {429, 503} and int(response.headers.get("Retry-After", "0")) > 0
        return refusal(answer) if fit else "unfit"

    return send


class Tally:
    """How many requests were sent and how many of them refused, by all clients."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.sent = self.refused = 0

    def add(self, outcome: str) -> None:
        with self._lock:
            self.sent += 1
            self.refused += outcome == "refused"


def client(
    signal: Signal, send: Callable[[bytes], str], numbers: Iterator[int], out: int, stop: threading.Event, tally: Tally
) -> None:
    while not stop.is_set():
        first = next(numbers)
        # Concatenated requests are one request, in protobuf.
        body = b"".join(_BYTES[signal](first + n * ITEMS) for n in range(_TOGETHER))
        for _ in range(_TRIES):
            outcome = send(body)
            tally.add(outcome)
            if outcome != "refused" or stop.is_set():
                break
        line = f"{signal} {first} {first + _TOGETHER * ITEMS - 1} {outcome} {time.monotonic_ns()}\n"
        os.write(out, line.encode())


def main(grpc_port: int, http_port: int, reports: Path, clients: int, first: int) -> None:
    stop = threading.Event()
    signals.signal(signals.SIGTERM, lambda *_: stop.set())
    out = os.open(reports, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    numbers = {signal: itertools.count(first, _TOGETHER * ITEMS) for signal in Signal}
    tally = Tally()
    threads = []
    for number in range(clients):
        signal = list(Signal)[number % 3]
        send = over_http(http_port, signal) if number % 2 else over_grpc(grpc_port, signal)
        threads.append(threading.Thread(target=client, args=(signal, send, numbers[signal], out, stop, tally)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reports.with_suffix(".json").write_text(json.dumps({"sent": tally.sent, "refused": tally.refused}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
