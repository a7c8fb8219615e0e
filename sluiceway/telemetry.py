"""What we say about ourselves, through the OpenTelemetry SDK, into the same log and store as everything else.

There is no feedback loop: exports go straight to the log's writer and pass no receiver, so no request of ours is
counted; they come at a fixed interval with one data point for each series, however much was counted; and a batch that
holds nothing but them is not traced (`schemas.tracing.batch_span`). An idle pipeline therefore writes the same number
of items about itself in every interval.
"""

from __future__ import annotations

import logging
import os
import platform
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from schemas.errors import SluicewayError
from schemas.signals import Signal
from schemas.telemetry import SCOPE, SELF_TENANT, counter
from sluiceway.settings import TelemetrySettings

_log = logging.getLogger(__name__)
# About an hour of batches at full load; what does not fit while the log is away is counted as lost.
_WAITING_SPANS = 4096

Submit = Callable[[Signal, str, bytes, int, int], Future[None]]
"""`Appender.submit`: signal, tenant, OTLP request, items, rejected; resolves when durable."""


class WaitingSpans(SpanProcessor):
    """Ended spans until the next export; the oldest give way when it is full."""

    def __init__(self, capacity: int = _WAITING_SPANS) -> None:
        self._lock = threading.Lock()
        self._spans: deque[ReadableSpan] = deque()
        self._capacity = capacity
        self._lost = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Keep `span`."""
        self._put([span])

    def take(self) -> tuple[list[ReadableSpan], int]:
        """All that wait, oldest first, and how many were lost since the last call."""
        with self._lock:
            spans, lost = list(self._spans), self._lost
            self._spans.clear()
            self._lost = 0
        return spans, lost

    def put_back(self, spans: Iterable[ReadableSpan]) -> None:
        """Spans whose export failed: they go first the next time."""
        with self._lock:
            self._spans.extendleft(reversed(list(spans)))
            self._trim()

    def _put(self, spans: Iterable[ReadableSpan]) -> None:
        with self._lock:
            self._spans.extend(spans)
            self._trim()

    def _trim(self) -> None:
        while len(self._spans) > self._capacity:
            self._spans.popleft()
            self._lost += 1


def _version() -> str:
    try:
        return version("sluiceway")
    except PackageNotFoundError:  # run from a checkout that was never installed
        return "unknown"


@dataclass(frozen=True, slots=True)
class Providers:
    """The SDK's providers of one process, read by `/metrics` and by the export."""

    meters: MeterProvider
    tracers: TracerProvider
    reader: InMemoryMetricReader
    registry: CollectorRegistry
    waiting: WaitingSpans

    @classmethod
    def build(cls) -> Providers:
        """Providers that nothing is connected to yet."""
        resource = Resource.create(
            {
                "service.name": "sluiceway",
                "service.version": _version(),
                "service.instance.id": str(uuid.uuid4()),
                "host.name": platform.node(),
                "process.pid": os.getpid(),
            }
        )
        registry = CollectorRegistry()
        reader = InMemoryMetricReader()
        prometheus = PrometheusMetricReader(scope_info_enabled=False, registry=registry)
        meters = MeterProvider(
            [reader, prometheus], resource, exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False
        )
        waiting = WaitingSpans()
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(waiting)
        return cls(meters, tracers, reader, registry, waiting)


@cache
def process_providers() -> Providers:
    """The providers of this process, made global on the first call: the API allows that once.

    They outlive any one pipeline; what instruments recorded before the first call is not counted.
    """
    providers = Providers.build()
    metrics.set_meter_provider(providers.meters)
    trace.set_tracer_provider(providers.tracers)
    return providers


class SelfTelemetry:
    """Exports what this process recorded to the log, from `start` to `stop`, and gives it to `/metrics`."""

    def __init__(self, submit: Submit, settings: TelemetrySettings, providers: Providers | None = None) -> None:
        self._submit = submit
        self._settings = settings
        self._providers = providers or process_providers()
        meter = self._providers.meters.get_meter(SCOPE)
        self._items = counter("sluiceway_telemetry_items_total", meter)
        self._scraping = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to export. Without effect when `telemetry.enabled` is false."""
        if self._settings.enabled and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Export once more and end. Call it before the log's writer is closed."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def exposition(self) -> tuple[bytes, str]:
        """All metrics in Prometheus' text format, and its content type."""
        # Two scrapes at once would read each other's collection out of the SDK's reader and write series twice.
        with self._scraping:
            return generate_latest(self._providers.registry), CONTENT_TYPE_LATEST

    def export(self) -> None:
        """One export, as the interval does it. Raises nothing: what fails is counted and logged."""
        spans, lost = self._providers.waiting.take()
        if lost:
            self._items.add(lost, {"signal": Signal.TRACES, "outcome": "lost"})
        if spans:
            body = encode_spans(spans).SerializeToString()
            if self._append(Signal.TRACES, body, len(spans)):
                self._items.add(len(spans), {"signal": Signal.TRACES, "outcome": "appended"})
            else:
                self._providers.waiting.put_back(spans)
        collected = self._providers.reader.get_metrics_data()
        if collected is None:
            return
        points = sum(
            len(metric.data.data_points)
            for resource in collected.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        )
        appended = self._append(Signal.METRICS, encode_metrics(collected).SerializeToString(), points)
        self._items.add(points, {"signal": Signal.METRICS, "outcome": "appended" if appended else "lost"})

    def _run(self) -> None:
        while not self._stopping.wait(self._settings.interval_s):
            self._export_safely()
        self._export_safely()

    def _export_safely(self) -> None:
        try:
            self.export()
        except Exception:  # noqa: BLE001  # a fault in what we say about ourselves must not end the thread that says it
            _log.exception(
                "an export of our own telemetry failed; the next one follows in %s s", self._settings.interval_s
            )

    def _append(self, signal: Signal, body: bytes, items: int) -> bool:
        """Whether `body` is durable; False means that it is not and will not be."""
        try:
            appending = self._submit(signal, SELF_TENANT, body, items, 0)
            try:
                appending.result(self._settings.interval_s)
            except TimeoutError:
                # A commit that has begun cannot be withdrawn: only its end says whether the items are there.
                if appending.cancel():
                    return False
                appending.result()
        except SluicewayError as error:
            _log.warning("our own %s wait for the log: %s", signal, error)
            return False
        return True
