"""One running instance of a service: its resource, its SDK providers, its real OTLP exporters and its instruments."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass

import grpc
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from schemas.signals import NAMES, Signal
from sluiceway.demo.catalogue import PLACEMENT, Service
from sluiceway.demo.tally import CountedLogs, CountedMetrics, CountedSpans, Tally

# Every metric exporter is given its temporality explicitly, so that the reader and the exporter cannot disagree.
_CUMULATIVE: dict[type, AggregationTemporality] = {}
_DELTA: dict[type, AggregationTemporality] = dict.fromkeys(
    (Counter, ObservableCounter, Histogram), AggregationTemporality.DELTA
)
_EXPORT_TIMEOUT_S = 5.0
_QUEUE_ITEMS = 16_384
_BATCH_ITEMS = 512
_DELAY_MS = 1_000


@dataclass(frozen=True, slots=True)
class Target:
    """Where the exporters send to.

    Attributes:
        grpc: base URL of OTLP over gRPC.
        http: base URL of OTLP over HTTP; the signal's path is added.
        metric_interval_ms: time between two collections of a metric reader.
    """

    grpc: str
    http: str
    metric_interval_ms: float = 5_000


class Instance:
    """One pod of a service. Its instruments live as long as it does; stopping flushes what is queued."""

    def __init__(
        self, service: Service, *, version: str, ordinal: int, name: str, target: Target, tally: Tally
    ) -> None:
        self.service, self.version, self.ordinal, self.name = service, version, ordinal, name
        resource = Resource.create(_attributes(service, version, ordinal, name))
        temporality = _DELTA if service.delta else _CUMULATIVE
        spans, metrics, logs = _exporters(service, target, temporality)
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._tracers.add_span_processor(
            BatchSpanProcessor(CountedSpans(spans, tally), _QUEUE_ITEMS, _DELAY_MS, _BATCH_ITEMS)
        )
        self._loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
        self._loggers.add_log_record_processor(
            BatchLogRecordProcessor(CountedLogs(logs, tally), _DELAY_MS, _BATCH_ITEMS, max_queue_size=_QUEUE_ITEMS)
        )
        reader = PeriodicExportingMetricReader(
            CountedMetrics(metrics, tally, temporality), export_interval_millis=target.metric_interval_ms
        )
        exponential = ExponentialBucketHistogramAggregation()
        self._meters = MeterProvider(
            [reader],
            resource=resource,
            shutdown_on_exit=False,
            views=[
                View(instrument_name="rpc.client.call.duration", aggregation=exponential),
                View(instrument_name="db.client.operation.duration", aggregation=exponential),
            ],
        )
        self.tracer = self._tracers.get_tracer(f"shop.{service.name}", version)
        self.logger = self._loggers.get_logger(f"shop.{service.name}", version)
        meter = self._meters.get_meter(f"shop.{service.name}", version)
        self.http_duration = meter.create_histogram(
            "http.server.request.duration", "s", "Duration of HTTP requests served."
        )
        self.rpc_duration = meter.create_histogram("rpc.server.call.duration", "s", "Duration of calls served.")
        self.call_duration = meter.create_histogram("rpc.client.call.duration", "s", "Duration of calls made.")
        self.query_duration = meter.create_histogram(
            "db.client.operation.duration", "s", "Duration of database queries."
        )
        self.sent = meter.create_counter("messaging.client.sent.messages", "{message}", "Messages published.")
        self.consumed = meter.create_counter("messaging.client.consumed.messages", "{message}", "Messages consumed.")
        self.orders = meter.create_counter("shop.orders", "{order}", "Orders placed.")
        self.revenue = meter.create_counter("shop.revenue", "EUR", "Value of the orders placed.")
        self.cart_items = meter.create_up_down_counter("shop.cart.items", "{item}", "Items that lie in carts.")
        self.visitors = meter.create_gauge("shop.visitors", "{visitor}", "Visitors of the shop at this hour.")
        self.load = 0.0
        self._busy_s = 0.0
        self._stopping: list[threading.Thread] = []
        meter.create_observable_gauge("process.cpu.utilization", [self._utilization], "1", "Share of one core in use.")
        meter.create_observable_counter("process.cpu.time", [self._cpu_time], "s", "Processor time used.")
        meter.create_observable_up_down_counter("process.memory.usage", [self._memory], "By", "Memory in use.")

    def busy(self, duration_s: float) -> None:
        """Account for work done: it shows in the processor time."""
        self._busy_s += duration_s

    def _utilization(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(round(min(0.95, 0.04 + 0.3 * self.load), 4))

    def _cpu_time(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(round(self._busy_s, 6), {"cpu.mode": "user"})

    def _memory(self, _options: CallbackOptions) -> Iterable[Observation]:
        yield Observation(int((96 + 48 * self.load) * 1024 * 1024))

    def begin_stop(self) -> None:
        """Begin to flush and to close the three providers side by side; a second call changes nothing."""
        if self._stopping:
            return
        for stop in (self._tracers.shutdown, self._loggers.shutdown, self._meters.shutdown):
            thread = threading.Thread(target=stop, daemon=True, name=f"stop-{self.name}")
            thread.start()
            self._stopping.append(thread)

    def join(self, deadline_s: float) -> None:
        """Wait until the providers are closed, or until the monotonic clock shows `deadline_s`."""
        for thread in self._stopping:
            thread.join(max(0.0, deadline_s - time.monotonic()))


def _attributes(service: Service, version: str, ordinal: int, name: str) -> dict[str, str | int]:
    node = PLACEMENT.nodes[ordinal % len(PLACEMENT.nodes)]
    return {
        "service.name": service.name,
        "service.namespace": "shop",
        "service.version": version,
        "service.instance.id": name,
        "deployment.environment.name": PLACEMENT.environment,
        "cloud.region": PLACEMENT.region,
        "host.name": node,
        "host.arch": "amd64",
        "os.type": "linux",
        "k8s.namespace.name": "shop",
        "k8s.deployment.name": service.name,
        "k8s.pod.name": name,
        "k8s.node.name": node,
        "container.image.name": f"shop/{service.name}",
        "process.pid": 1,
    }


def _exporters(
    service: Service, target: Target, temporality: dict[type, AggregationTemporality]
) -> tuple[SpanExporter, MetricExporter, LogRecordExporter]:
    if service.transport == "grpc":
        packed = grpc.Compression.Gzip if service.gzip else grpc.Compression.NoCompression
        return (
            GrpcSpans(target.grpc, insecure=True, timeout=_EXPORT_TIMEOUT_S, compression=packed),
            GrpcMetrics(
                target.grpc,
                insecure=True,
                timeout=_EXPORT_TIMEOUT_S,
                compression=packed,
                preferred_temporality=temporality,
            ),
            GrpcLogs(target.grpc, insecure=True, timeout=_EXPORT_TIMEOUT_S, compression=packed),
        )
    url = target.http.rstrip("/")
    encoding = Compression.Gzip if service.gzip else Compression.NoCompression
    return (
        HttpSpans(f"{url}{NAMES[Signal.TRACES].http_path}", timeout=_EXPORT_TIMEOUT_S, compression=encoding),
        HttpMetrics(
            f"{url}{NAMES[Signal.METRICS].http_path}",
            timeout=_EXPORT_TIMEOUT_S,
            compression=encoding,
            preferred_temporality=temporality,
        ),
        HttpLogs(f"{url}{NAMES[Signal.LOGS].http_path}", timeout=_EXPORT_TIMEOUT_S, compression=encoding),
    )
