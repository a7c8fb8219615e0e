"""Clients whose answer was late or lost send the same again: each span is in the log once."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from ingest.wire_schema import REQUESTS
from schemas.log import Entry
from schemas.signals import NAMES, Signal
from tests.memory_log import MemoryLog
from tests.otlp_requests import WINDOW, items
from tests.receivers_under_test import CHANNEL, PROTOBUF, Served, sample, serving


class SlowOnce(MemoryLog):
    """Takes its first append, and says so late."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self.delay_s = delay_s
        self.appends = 0

    def append(self, entries: Sequence[Entry]) -> None:
        self.appends += 1
        super().append(entries)
        delay_s, self.delay_s = self.delay_s, 0.0
        time.sleep(delay_s)


def spans_of_a_service(count: int) -> list[ReadableSpan]:
    tracer = TracerProvider().get_tracer("test")
    made = []
    for _ in range(count):
        # The receivers' clock stands at the requests' time.
        span = tracer.start_span("checkout", start_time=WINDOW["now_ns"])
        span.end(WINDOW["now_ns"])
        assert isinstance(span, ReadableSpan)
        made.append(span)
    return made


def _counted(log: MemoryLog) -> Counter[bytes]:
    """How often each span is in the log."""
    return Counter(
        item.span_id for entry in log.entries for item in items(REQUESTS[Signal.TRACES].FromString(entry.value))
    )


def repeated(served: Served) -> int:
    return sum(served.receivers.tally.of("repeated").values())


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_spans_of_the_sdk_are_in_a_log_that_was_slow_once_once(transport: str) -> None:
    log, spans = SlowOnce(1.5), spans_of_a_service(50)
    with serving(log, append_timeout_s=0.5, coalesce_linger_ms=0) as served:
        exporter: Any = (
            GrpcSpans(endpoint=f"127.0.0.1:{served.receivers.grpc_port}", insecure=True)
            if transport == "grpc"
            else HttpSpans(endpoint=f"http://127.0.0.1:{served.receivers.http_port}/v1/traces")
        )
        result = exporter.export(spans)
        exporter.shutdown()
        assert result is SpanExportResult.SUCCESS
        assert repeated(served) >= 1
    assert log.appends == 1
    assert _counted(log) == {span.context.span_id.to_bytes(8, "big"): 1 for span in spans if span.context}


def test_a_grpc_client_that_gave_up_before_its_answer_finds_its_request_in_the_log() -> None:
    log, body = SlowOnce(3.0), sample(Signal.TRACES)
    with (
        serving(log, coalesce_linger_ms=0) as served,
        grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}", options=CHANNEL) as channel,
    ):
        export: Any = channel.unary_unary(f"/{NAMES[Signal.TRACES].grpc_service}/Export")
        with pytest.raises(grpc.RpcError) as gave_up:
            export(body, timeout=1.3)
        assert gave_up.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED  # type: ignore[attr-defined]
        assert export(body, timeout=20) == b""
        assert repeated(served) == 1
    assert [entry.value for entry in log.entries] == [body]


def test_an_http_client_that_gave_up_before_its_answer_finds_its_request_in_the_log() -> None:
    log, body = SlowOnce(3.0), sample(Signal.TRACES)
    with serving(log, coalesce_linger_ms=0) as served:
        connection = http.client.HTTPConnection("127.0.0.1", served.receivers.http_port, timeout=1.3)
        connection.request("POST", NAMES[Signal.TRACES].http_path, body, {"content-type": PROTOBUF})
        with pytest.raises(TimeoutError):
            connection.getresponse()
        connection.close()
        # The server has to see the connection close.
        threading.Event().wait(0.5)
        assert served.post(Signal.TRACES, body).status == 200
        assert repeated(served) == 1
    assert [entry.value for entry in log.entries] == [body]
