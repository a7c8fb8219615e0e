"""The real OTLP exporters, with what they delivered counted."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from opentelemetry.sdk._logs import ReadableLogRecord
from opentelemetry.sdk._logs.export import LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, MetricExportResult, MetricsData
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from schemas.signals import Signal


class Tally:
    """Items by signal: handed to an SDK, acknowledged by the pipeline, given up by an exporter. Thread-safe.

    Data points come into being when a reader collects, so `made` of metrics is what readers collected.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.made = dict.fromkeys(Signal, 0)
        self.acked = dict.fromkeys(Signal, 0)
        self.lost = dict.fromkeys(Signal, 0)

    def make(self, signal: Signal, items: int = 1) -> None:
        """`items` were given to an SDK."""
        with self._lock:
            self.made[signal] += items

    def settle(self, signal: Signal, items: int, *, acked: bool) -> None:
        """An exporter has finished with `items`."""
        with self._lock:
            (self.acked if acked else self.lost)[signal] += items

    def open(self) -> dict[Signal, int]:
        """Items that no exporter has finished with: queued, under way, or dropped from a full queue."""
        with self._lock:
            return {signal: self.made[signal] - self.acked[signal] - self.lost[signal] for signal in Signal}


def data_points(metrics_data: MetricsData) -> int:
    """How many data points one collection holds."""
    return sum(
        len(metric.data.data_points)
        for resource in metrics_data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    )


class CountedSpans(SpanExporter):
    """A span exporter whose outcome is counted."""

    def __init__(self, inner: SpanExporter, tally: Tally) -> None:
        self._inner, self._tally = inner, tally

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """As the exporter within."""
        result = self._inner.export(spans)
        self._tally.settle(Signal.TRACES, len(spans), acked=result is SpanExportResult.SUCCESS)
        return result

    def shutdown(self) -> None:
        """As the exporter within."""
        self._inner.shutdown()


class CountedLogs(LogRecordExporter):
    """A log record exporter whose outcome is counted."""

    def __init__(self, inner: LogRecordExporter, tally: Tally) -> None:
        self._inner, self._tally = inner, tally

    def export(self, batch: Sequence[ReadableLogRecord]) -> LogRecordExportResult:
        """As the exporter within."""
        result = self._inner.export(batch)
        self._tally.settle(Signal.LOGS, len(batch), acked=result is LogRecordExportResult.SUCCESS)
        return result

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """As the exporter within."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self) -> None:
        """As the exporter within."""
        self._inner.shutdown()  # type: ignore[no-untyped-call]  # the SDK leaves this one method without types


class CountedMetrics(MetricExporter):
    """A metric exporter whose outcome is counted, in data points."""

    def __init__(
        self, inner: MetricExporter, tally: Tally, preferred_temporality: dict[type, AggregationTemporality]
    ) -> None:
        super().__init__(preferred_temporality=preferred_temporality)
        self._inner, self._tally = inner, tally

    def export(self, metrics_data: MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> MetricExportResult:
        """As the exporter within."""
        points = data_points(metrics_data)
        self._tally.make(Signal.METRICS, points)
        result = self._inner.export(metrics_data, timeout_millis, **kwargs)
        self._tally.settle(Signal.METRICS, points, acked=result is MetricExportResult.SUCCESS)
        return result

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """As the exporter within."""
        return self._inner.force_flush(timeout_millis)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """As the exporter within."""
        self._inner.shutdown(timeout_millis, **kwargs)
