"""A small service that the OpenTelemetry SDK instruments: spans, log records, metrics of every kind that it has."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Status, StatusCode

SERVICE = "checkout"


@dataclass(frozen=True)
class Exported:
    """How many items were exported, by table."""

    rows: dict[str, int]


def export_orders(address: str, orders: int = 20) -> Exported:
    """Work on `orders` orders, exporting over gRPC to `address`; returns when all of it is acknowledged."""
    resource = Resource({"service.name": SERVICE, "service.version": "1.4.2", "deployment.environment.name": "test"})
    tracers = TracerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=address, insecure=True)))
    # No exports but the last: what arrives can be counted.
    reader = PeriodicExportingMetricReader(
        OTLPMetricExporter(endpoint=address, insecure=True), export_interval_millis=3_600_000
    )
    by_scale = View(
        instrument_type=Histogram, instrument_name="order.size", aggregation=ExponentialBucketHistogramAggregation()
    )
    meters = MeterProvider([reader], resource=resource, views=[by_scale])
    loggers = LoggerProvider(resource=resource)
    loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(endpoint=address, insecure=True)))
    logger = logging.getLogger("tests.sdk_exports")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        sink = LoggingHandler(logger_provider=loggers)
    logger.addHandler(sink)
    try:
        _work(orders, tracers, meters, logger)
    finally:
        logger.removeHandler(sink)
        loggers.shutdown()
        meters.shutdown()
        tracers.shutdown()
    return Exported({
        "otel_traces": 2 * orders, "otel_logs": orders, "otel_metrics_sum": 3, "otel_metrics_gauge": 1,
        "otel_metrics_histogram": 1, "otel_metrics_exponential_histogram": 1,
    })  # fmt: skip


def _work(orders: int, tracers: TracerProvider, meters: MeterProvider, logger: logging.Logger) -> None:
    tracer, meter = tracers.get_tracer("shop", "0.3"), meters.get_meter("shop", "0.3", attributes={"team": "orders"})
    placed, open_orders = meter.create_counter("orders", "1", "Orders placed."), meter.create_up_down_counter("open")
    latency, size, level = (
        meter.create_histogram("latency", "s"), meter.create_histogram("order.size"), meter.create_gauge("stock"),
    )  # fmt: skip
    before = None
    for number in range(orders):
        links = [Link(before, {"why": "the order before"})] if before is not None else []
        with tracer.start_as_current_span("POST /orders", kind=trace.SpanKind.SERVER, links=links) as span:
            before = span.get_span_context()
            span.set_attributes({"order": number, "items": ["tea", "cake"], "total": 12.5 * number, "gift": True})
            with tracer.start_as_current_span("charge", kind=trace.SpanKind.CLIENT) as charge:
                if number % 5 == 0:
                    charge.record_exception(ValueError("card declined"))
                    charge.set_status(Status(StatusCode.ERROR, "card declined"))
                # Inside a sampled span, so that they carry exemplars.
                placed.add(1, {"gift": bool(number % 2)})
                latency.record(number / 100)
                size.record(1.7**number)
            logger.warning("order %d placed", number, extra={"order": number})
        open_orders.add(1)
    level.set(orders)
