"""Requests whose few bytes ask for much: by kind, encoding and compression; and the receivers that they are sent to.

`python -m tests.faults.bombs FOLDER` is these receivers, in a process of their own: it prints its ports and serves
until its standard input ends.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from ingest import split, validate
from ingest.serve import Receivers
from ingest.settings import IngestSettings
from ingest.sqlite_log import SqliteLogWriter
from schemas.settings import MIB, LogSettings, RetentionSettings
from schemas.signals import Signal
from sluiceway.embedded import runtime
from sluiceway.one_cpu import OneCpu
from tests.otlp_validation import field

# Beside one byte the bound of a request after decompression, with room for what encloses it.
SIZE_BYTES = 32 * MIB - 256
JSON_BYTES = 8 * MIB
COMPRESSED: dict[str, Callable[[bytes], bytes]] = {
    "identity": bytes,
    "gzip": lambda body: gzip.compress(body, 9),
    "deflate": lambda body: zlib.compress(body, 9),
    "zstd": lambda body: zstd.compress(body, 3),
}


@dataclass(frozen=True)
class Bomb:
    """A request; whether it is more than a request may hold, and so refused for good."""

    signal: Signal
    body: bytes
    refused: bool = True


def many(unit: bytes, size_bytes: int = SIZE_BYTES) -> bytes:
    return unit * (size_bytes // len(unit))


def spans(content: bytes) -> bytes:
    """A request with one scope of this content."""
    return field(1, field(2, content))


def header_of_nearly_a_record() -> bytes:
    """Records of four mebibytes have room for some hundred bytes of it: thousands of records, of one request."""
    resource = field(1, field(1, field(1, b"k") + field(2, field(1, b"v" * (4 * MIB - 1000)))))
    return field(1, resource + field(2, many(field(2, field(5, b"n" * 400)), 27 * MIB)))


def protobuf() -> dict[str, Bomb]:
    """By name, what fills a request."""
    traces, metrics, logs = Signal.TRACES, Signal.METRICS, Signal.LOGS
    one = field(2, b"")
    point = field(5, field(1, b""))
    return {
        "empty spans": Bomb(traces, spans(many(b"\x12\x00"))),
        "empty log records": Bomb(logs, spans(many(b"\x12\x00"))),
        "empty points": Bomb(metrics, spans(field(2, field(5, many(b"\x0a\x00"))))),
        "empty histogram points": Bomb(metrics, spans(field(2, field(9, many(b"\x0a\x00"))))),
        "empty metrics": Bomb(metrics, spans(many(b"\x12\x00") + field(2, point))),
        "metrics of one empty point": Bomb(metrics, spans(many(field(2, point)))),
        "empty resources": Bomb(traces, many(b"\x0a\x00")),
        "empty resources and a span": Bomb(traces, many(b"\x0a\x00") + spans(one)),
        "empty scopes and a span": Bomb(traces, field(1, many(b"\x12\x00") + field(2, one))),
        "a scope for each span": Bomb(traces, field(1, many(field(2, one)))),
        "a resource for each log record": Bomb(logs, many(spans(one))),
        "spans with a wrong id": Bomb(traces, spans(many(field(2, field(1, b"\x01"))))),
        "empty events": Bomb(traces, spans(field(2, many(b"\x5a\x00")))),
        "empty links": Bomb(traces, spans(field(2, many(b"\x6a\x00")))),
        "events of many spans": Bomb(traces, spans(many(field(2, b"\x5a\x00" * 1000)))),
        "empty attributes": Bomb(traces, spans(field(2, many(b"\x4a\x00")))),
        "empty resource attributes": Bomb(traces, field(1, field(1, many(b"\x0a\x00")) + field(2, one))),
        "empty array elements": Bomb(logs, spans(field(2, field(5, field(5, many(b"\x0a\x00")))))),
        "empty map entries": Bomb(logs, spans(field(2, field(5, field(6, many(b"\x0a\x00")))))),
        "empty exemplars": Bomb(metrics, spans(field(2, field(5, field(1, many(b"\x2a\x00")))))),
        "empty quantiles": Bomb(metrics, spans(field(2, field(11, field(1, many(b"\x32\x00")))))),
        "buckets of a point": Bomb(metrics, spans(field(2, field(10, field(1, field(8, field(2, many(b"\x01")))))))),
        "a string in each of few spans": Bomb(traces, spans(many(field(2, field(5, b"n" * MIB)))), refused=False),
        "a string of all": Bomb(traces, spans(field(2, field(5, many(b"n"))))),
        "a string in an attribute": Bomb(
            logs, spans(many(field(2, field(6, field(1, b"k") + field(2, field(1, b"v" * MIB)))))), refused=False
        ),
        "unknown fields": Bomb(traces, spans(one + many(b"\xa0\x06\x00")), refused=True),
        "a header of nearly a record": Bomb(traces, header_of_nearly_a_record()),
    }


def of_json() -> dict[str, Bomb]:
    """By name, what fills a request in JSON."""
    traces, metrics, logs = Signal.TRACES, Signal.METRICS, Signal.LOGS

    def nested(before: bytes, unit: bytes, after: bytes, size_bytes: int = JSON_BYTES) -> bytes:
        return before + b",".join([unit] * (size_bytes // (len(unit) + 1))) + after

    scope = b'{"resourceSpans":[{"scopeSpans":[{"spans":['
    # The most that the bound on memory lets through.
    fitting_bytes = 3 * 300_000
    return {
        "empty spans": Bomb(traces, nested(scope, b"{}", b"]}]}]}")),
        "empty spans that fit in memory": Bomb(traces, nested(scope, b"{}", b"]}]}]}", fitting_bytes)),
        "empty resources": Bomb(traces, nested(b'{"resourceSpans":[', b"{}", b"]}")),
        "empty events that fit in memory": Bomb(
            traces, nested(scope + b'{"events":[', b"{}", b"]}]}]}]}", fitting_bytes), refused=False
        ),
        "empty log records": Bomb(logs, nested(b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[', b"{}", b"]}]}]}")),
        "empty points": Bomb(
            metrics,
            nested(b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"dataPoints":[', b"{}", b"]}}]}]}]}"),
        ),
        "numbers of a point": Bomb(
            metrics,
            nested(
                b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":[{"bucketCounts":[',
                b"1",
                b"]}]}}]}]}]}",
            ),
            refused=True,
        ),
        "a string of all": Bomb(traces, nested(scope + b'{"name":"', b"n" * 1023, b'"}]}]}]}')),
        "arrays in unknown fields": Bomb(traces, nested(b'{"x":[', b"[]", b"]}")),
    }


@dataclass(frozen=True)
class Target:
    """A receiving process."""

    pid: int
    http_port: int
    grpc_port: int


@contextmanager
def receiving(folder: Path) -> Iterator[Target]:
    """Receivers with their default settings over a log on disk, in a process of their own."""
    command = [sys.executable, "-m", "tests.faults.bombs", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        try:
            ports = json.loads(child.stdout.readline())
            yield Target(child.pid, ports["http"], ports["grpc"])
        finally:
            child.communicate("")


def serve(folder: Path) -> None:
    """Be the receiving process, as `sluiceway ingest` is."""
    runtime.bound_arenas()
    validate.warm_up()
    if hasattr(split, "warm_up"):
        split.warm_up()
    log = SqliteLogWriter(folder / "log.sqlite", LogSettings(path=None))
    with Receivers(log, IngestSettings(grpc_port=0, http_port=0), RetentionSettings()) as receivers:
        OneCpu().look()
        runtime.tune()
        print(json.dumps({"http": receivers.http_port, "grpc": receivers.grpc_port}), flush=True)
        sys.stdin.read()
    log.close()


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
