"""The same as load.py with real OpenTelemetry SDKs: tracer, meter and logger, each with its OTLP exporter over gRPC.

Usage: sdk_load.py GRPC_PORT REPORTS REQUESTS_PER_S FIRST. An SDK sends a batch again by itself where the answer allows
it, and gives up after its time-out. Its attempts are watched at the stub: reports say `acked+2` for a batch whose third
attempt was acknowledged, after two without an answer, and `unknown+2` for three of those. Refused ones do not count.
"""

from __future__ import annotations

import logging
import os
import signal as signals
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Counter, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from schemas.signals import Signal
from tests.faults.load import ITEMS, grpc_outcome

_TIMEOUT_S = 30.0
_CHANNEL = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200))


class _Watched:
    """Mixed into an exporter: what became of each attempt, and a report of the whole export."""

    signal: Signal
    reports: int
    numbers_of: Callable[[Any], Iterable[int]]
    _unanswered = 0

    def _initialize_channel_and_stub(self) -> None:
        super()._initialize_channel_and_stub()  # type: ignore[misc]
        export = self._client.Export  # type: ignore[has-type]

        def watched(**arguments: Any) -> Any:
            try:
                return export(**arguments)
            except grpc.RpcError as error:
                self._unanswered += grpc_outcome(error) == "unknown"
                raise

        self._client = SimpleNamespace(Export=watched)

    def export(self, batch: Any, *others: Any, **more: Any) -> Any:
        numbers = list(type(self).numbers_of(batch))
        self._unanswered = 0
        result = super().export(batch, *others, **more)  # type: ignore[misc]
        if result.name == "SUCCESS":
            outcome = f"acked+{self._unanswered}" if self._unanswered else "acked"
        elif not self._unanswered:
            outcome = "refused"
        else:
            outcome = f"unknown+{self._unanswered - 1}" if self._unanswered > 1 else "unknown"
        line = f"{self.signal} {min(numbers)} {max(numbers)} {outcome} {time.monotonic_ns()}\n"
        os.write(self.reports, line.encode())
        return result


class _Spans(_Watched, OTLPSpanExporter):
    signal = Signal.TRACES
    numbers_of = staticmethod(lambda spans: (int(span.attributes["load.id"]) for span in spans))


class _Logs(_Watched, OTLPLogExporter):
    signal = Signal.LOGS
    numbers_of = staticmethod(lambda batch: (int(each.log_record.attributes["load.id"]) for each in batch))


class _Metrics(_Watched, OTLPMetricExporter):
    signal = Signal.METRICS
    numbers_of = staticmethod(
        lambda data: (
            int(point.attributes["load.id"])
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            for point in metric.data.data_points
        )
    )


def main(port: int, reports: Path, requests_per_s: float, first: int) -> None:
    stop = threading.Event()
    signals.signal(signals.SIGTERM, lambda *_: stop.set())
    # What it says of every attempt that failed is in the reports.
    logging.disable(logging.CRITICAL)
    _Watched.reports = os.open(reports, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    options: dict[str, Any] = {
        "endpoint": f"http://127.0.0.1:{port}",
        "insecure": True,
        "timeout": _TIMEOUT_S,
        "channel_options": _CHANNEL,
    }
    resource = Resource({"service.name": "load-payment", "service.version": "sdk"})
    # Nothing is exported but when it is asked for, so that nothing is dropped from a full queue.
    tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracers.add_span_processor(BatchSpanProcessor(_Spans(**options), schedule_delay_millis=3_600_000))
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    loggers.add_log_record_processor(BatchLogRecordProcessor(_Logs(**options), schedule_delay_millis=3_600_000))
    # With deltas a point is exported once.
    exporter = _Metrics(**options, preferred_temporality={Counter: AggregationTemporality.DELTA})
    meters = MeterProvider(
        [PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000, export_timeout_millis=60_000)],
        resource=resource,
        shutdown_on_exit=False,
    )
    tracer, counter = tracers.get_tracer("load"), meters.get_meter("load").create_counter("load.sdk")
    logger = loggers.get_logger("load")

    def span(number: int) -> None:
        with tracer.start_as_current_span("operation sdk", attributes={"load.id": str(number)}):
            pass

    def record(number: int) -> None:
        logger.emit(
            LogRecord(
                timestamp=time.time_ns(),
                severity_number=SeverityNumber.INFO,
                severity_text="INFO",
                body=f"order {number} was placed",
                attributes={"load.id": str(number)},
            )
        )

    def point(number: int) -> None:
        counter.add(1, {"load.id": str(number)})

    def send(make: Callable[[int], None], flush: Callable[[int], bool]) -> None:
        number = first
        while not stop.is_set():
            for each in range(number, number + ITEMS):
                make(each)
            flush(60_000)
            number += ITEMS
            stop.wait(1 / requests_per_s)

    threads = [
        threading.Thread(target=send, args=each)
        for each in ((span, tracers.force_flush), (record, loggers.force_flush), (point, meters.force_flush))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
