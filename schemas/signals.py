"""The three OTLP signals: their topics, gRPC services, HTTP paths and item nouns.

Source: OTLP specification 1.9 (service names and paths) and the Collector's Kafka exporter (topic defaults).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Signal(enum.StrEnum):
    """What a request, topic, table or ledger row is about."""

    TRACES = "traces"
    METRICS = "metrics"
    LOGS = "logs"


@dataclass(frozen=True, slots=True)
class Names:
    """One signal's names. `item` is what the ledger counts."""

    topic: str
    grpc_service: str
    http_path: str
    item: str


_COLLECTOR = "opentelemetry.proto.collector"

NAMES: dict[Signal, Names] = {
    Signal.TRACES: Names("otlp_spans", f"{_COLLECTOR}.trace.v1.TraceService", "/v1/traces", "spans"),
    Signal.METRICS: Names("otlp_metrics", f"{_COLLECTOR}.metrics.v1.MetricsService", "/v1/metrics", "data points"),
    Signal.LOGS: Names("otlp_logs", f"{_COLLECTOR}.logs.v1.LogsService", "/v1/logs", "log records"),
}


def topic(signal: Signal) -> str:
    """The log topic of a signal."""
    return NAMES[signal].topic


def signal_of(source_topic: str) -> Signal:
    """The signal of a topic or of its dead letters.

    Raises:
        KeyError: the topic belongs to no signal.
    """
    base = source_topic.removesuffix(".dlq")
    for signal, names in NAMES.items():
        if names.topic == base:
            return signal
    raise KeyError(source_topic)
