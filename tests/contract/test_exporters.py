"""The OpenTelemetry SDK's own exporters against both receivers and the real log: what they export is what is stored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from ingest.serve import Receivers
from ingest.settings import IngestSettings
from ingest.sqlite_log import SqliteLogWriter
from ingest.wire_schema import REQUESTS
from processors.sqlite_log import SqliteLogReader
from schemas.settings import LogSettings, RetentionSettings
from schemas.signals import Signal, topic
from tests.otlp_requests import items

RESOURCE = Resource({"service.name": "checkout"})
TENANT = {"x-tenant-id": "shop"}


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[tuple[Receivers, Path]]:
    path = tmp_path / "log.sqlite"
    log = SqliteLogWriter(path, LogSettings())
    try:
        with Receivers(log, IngestSettings(grpc_port=0, http_port=0), RetentionSettings()) as receivers:
            yield receivers, path
    finally:
        log.close()


def _stored(path: Path, signal: Signal) -> list[Any]:
    """The items of all records of a signal, and the tenant that they must have."""
    reader = SqliteLogReader(path, topic(signal))
    try:
        records = [
            record
            for partition in reader.partitions()
            for record in reader.read(partition, 0, max_records=100, max_bytes=10**8)
        ]
    finally:
        reader.close()
    found = [item for record in records for item in items(REQUESTS[signal].FromString(record.value))]
    assert {record.tenant for record in records} == {"shop"}
    assert sum(record.items or 0 for record in records) == len(found)
    return found


def _grpc(exporter: Callable[..., Any], receivers: Receivers, _path: str) -> Any:
    return exporter(
        endpoint=f"127.0.0.1:{receivers.grpc_port}",
        insecure=True,
        headers=tuple(TENANT.items()),
        compression=grpc.Compression.Gzip,
    )


def _http(exporter: Callable[..., Any], receivers: Receivers, path: str) -> Any:
    return exporter(
        endpoint=f"http://127.0.0.1:{receivers.http_port}{path}", headers=TENANT, compression=Compression.Gzip
    )


@pytest.mark.parametrize(("exporter", "over"), [(GrpcSpans, _grpc), (HttpSpans, _http)])
def test_spans(pipeline: tuple[Receivers, Path], exporter: Callable[..., Any], over: Callable[..., Any]) -> None:
    provider = TracerProvider(resource=RESOURCE)
    provider.add_span_processor(BatchSpanProcessor(over(exporter, pipeline[0], "/v1/traces")))
    tracer = provider.get_tracer("test")
    for number in range(50):
        with tracer.start_as_current_span(f"span {number}", attributes={"number": number}):
            pass
    provider.shutdown()
    assert sorted(span.name for span in _stored(pipeline[1], Signal.TRACES)) == sorted(f"span {n}" for n in range(50))


@pytest.mark.parametrize(("exporter", "over"), [(GrpcMetrics, _grpc), (HttpMetrics, _http)])
def test_metrics(pipeline: tuple[Receivers, Path], exporter: Callable[..., Any], over: Callable[..., Any]) -> None:
    reader = PeriodicExportingMetricReader(over(exporter, pipeline[0], "/v1/metrics"), export_interval_millis=60_000)
    provider = MeterProvider([reader], resource=RESOURCE)
    meter = provider.get_meter("test")
    meter.create_counter("orders").add(7, {"kind": "a"})
    meter.create_histogram("latency").record(0.5)
    provider.shutdown()
    points = _stored(pipeline[1], Signal.METRICS)
    assert sorted(point.DESCRIPTOR.name for point in points) == ["HistogramDataPoint", "NumberDataPoint"]
    assert [point.as_int for point in points if point.DESCRIPTOR.name == "NumberDataPoint"] == [7]


@pytest.mark.filterwarnings("ignore:.*LoggingHandler.*:DeprecationWarning")
@pytest.mark.parametrize(("exporter", "over"), [(GrpcLogs, _grpc), (HttpLogs, _http)])
def test_logs(pipeline: tuple[Receivers, Path], exporter: Callable[..., Any], over: Callable[..., Any]) -> None:
    provider = LoggerProvider(resource=RESOURCE)
    provider.add_log_record_processor(BatchLogRecordProcessor(over(exporter, pipeline[0], "/v1/logs")))
    logger = logging.getLogger("tests.exporters")
    sink = LoggingHandler(logger_provider=provider)
    logger.addHandler(sink)
    try:
        for number in range(50):
            logger.warning("record %d", number)
    finally:
        logger.removeHandler(sink)
        provider.shutdown()
    stored = [record.body.string_value for record in _stored(pipeline[1], Signal.LOGS)]
    assert sorted(stored) == sorted(f"record {number}" for number in range(50))
