"""The OpenTelemetry SDK's own exporters when we push back: they come again when we say, and lose nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from schemas.errors import LogUnavailableError, MalformedRequestError, OverloadedError, RetryableError, SluicewayError
from schemas.log import Entry
from tests.memory_log import MemoryLog
from tests.otlp_requests import WINDOW
from tests.receivers_under_test import serving


class FailingOnce(MemoryLog):
    """Refuses the first append."""

    def __init__(self, refusal: SluicewayError) -> None:
        super().__init__()
        self.failure = refusal

    def append(self, entries: Sequence[Entry]) -> None:
        try:
            super().append(entries)
        finally:
            self.failure = None


class Waits(threading.Event):
    """What the exporter waits on between two tries; remembers for how long it wanted to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked_s: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.asked_s.append(timeout)
        return super().wait(timeout)


def _span() -> ReadableSpan:
    # The receivers' clock stands at the requests' time.
    span = TracerProvider().get_tracer("test").start_span("checkout", start_time=WINDOW["now_ns"])
    span.end(WINDOW["now_ns"])
    assert isinstance(span, ReadableSpan)
    return span


REFUSALS = [LogUnavailableError, OverloadedError]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_grpc_exporter_comes_again_after_the_delay_that_we_name(refusal: type[RetryableError]) -> None:
    log = FailingOnce(refusal("log: refuses once", retry_after_s=0.25))
    with serving(log) as served:
        exporter = GrpcSpans(endpoint=f"127.0.0.1:{served.receivers.grpc_port}", insecure=True)
        waits = exporter._shutdown_in_progress = Waits()
        result = exporter.export([_span()])
        exporter.shutdown()
    assert result is SpanExportResult.SUCCESS
    assert [entry.items for entry in log.entries] == [1]
    assert waits.asked_s == [0.25]


@pytest.mark.parametrize("refusal", REFUSALS)
def test_the_http_exporter_comes_again(refusal: type[RetryableError]) -> None:
    log = FailingOnce(refusal("log: refuses once", retry_after_s=0.25))
    with serving(log) as served:
        exporter: Any = HttpSpans(endpoint=f"http://127.0.0.1:{served.receivers.http_port}/v1/traces")
        result = exporter.export([_span()])
        exporter.shutdown()
    assert result is SpanExportResult.SUCCESS
    assert [entry.items for entry in log.entries] == [1]


def test_the_grpc_exporter_does_not_come_again_with_what_is_refused_for_good() -> None:
    log = FailingOnce(MalformedRequestError("request: refused for good"))
    with serving(log) as served:
        exporter = GrpcSpans(endpoint=f"127.0.0.1:{served.receivers.grpc_port}", insecure=True)
        result = exporter.export([_span()])
        exporter.shutdown()
    assert result is SpanExportResult.FAILURE
    assert log.entries == []
