"""A broker that stands still longer than clients are kept waiting: what they send again is on the topic once."""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path

from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import SpanExportResult

from ingest.kafka_log import KafkaLogWriter
from ingest.wire_schema import REQUESTS
from schemas.kafka_settings import KafkaSettings
from schemas.signals import Signal
from tests.contract.test_exporters_repeat import repeated, spans_of_a_service
from tests.contract.test_kafka_partitions import records
from tests.kafka_broker import require_broker
from tests.otlp_requests import items
from tests.receivers_under_test import serving
from tests.testbed.kafka_broker import Broker

MAX_RECORD_BYTES = 4 << 20


def test_spans_sent_again_while_the_broker_is_frozen_are_on_the_topic_once(tmp_path: Path) -> None:
    require_broker()
    with Broker(tmp_path / "kafka") as broker:
        settings = KafkaSettings(
            bootstrap_servers=(broker.bootstrap,), partitions=1, replication_factor=1, min_insync_replicas=1
        )  # fmt: skip
        writer = KafkaLogWriter(settings, MAX_RECORD_BYTES)
        try:
            with serving(writer, append_timeout_s=1.0, coalesce_linger_ms=0) as served:
                exporter = OTLPSpanExporter(
                    endpoint=f"127.0.0.1:{served.receivers.grpc_port}", insecure=True, timeout=60
                )
                # Connected before the broker stands still: what is under way then has been sent.
                assert exporter.export(spans_of_a_service(1)) is SpanExportResult.SUCCESS
                broker.freeze()
                thawing = threading.Timer(6, broker.thaw)
                thawing.start()
                spans = spans_of_a_service(50)
                assert exporter.export(spans) is SpanExportResult.SUCCESS
                thawing.join()
                exporter.shutdown()
                assert repeated(served) >= 2
        finally:
            writer.close()
        found = Counter(
            item.span_id
            for record in records(broker, settings.traces_topic)
            for item in items(REQUESTS[Signal.TRACES].FromString(record.value))
        )
    assert set(found.values()) == {1}
    assert {span.context.span_id.to_bytes(8, "big") for span in spans if span.context} < set(found)
