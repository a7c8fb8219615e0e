"""The demo's traffic, as a receiver sees it: real SDKs and exporters send to servers that keep every request."""

from __future__ import annotations

import gzip
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from signal import SIGINT, getsignal, raise_signal
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from schemas.errors import ConfigurationError
from schemas.signals import NAMES, Signal
from sluiceway.demo.catalogue import BAD_RELEASE, SERVICES
from sluiceway.demo.shop import Progress, Report, run_demo

_TYPES: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceRequest,
    Signal.METRICS: ExportMetricsServiceRequest,
    Signal.LOGS: ExportLogsServiceRequest,
}


class Capture:
    """Receivers for OTLP over gRPC and HTTP that acknowledge and keep every request, by signal and transport."""

    def __init__(self) -> None:
        self.bodies: list[tuple[Signal, str, bytes]] = []
        self.received_ns: list[int] = []
        self._grpc = grpc.server(ThreadPoolExecutor(4))
        for signal, names in NAMES.items():
            export = grpc.unary_unary_rpc_method_handler(self._export(signal))
            self._grpc.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(names.grpc_service, {"Export": export}),)
            )
        self.grpc_url = f"http://127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        self._grpc.start()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._http_requests())
        self.http_url = f"http://127.0.0.1:{self._http.server_port}"
        self._serving = threading.Thread(target=self._http.serve_forever, args=(0.05,))
        self._serving.start()

    def _keep(self, signal: Signal, transport: str, body: bytes) -> None:
        self.received_ns.append(time.time_ns())
        self.bodies.append((signal, transport, body))

    def _export(self, signal: Signal) -> Any:
        def export(body: bytes, _context: grpc.ServicerContext) -> bytes:
            self._keep(signal, "grpc", body)
            return b""

        return export

    def _http_requests(self) -> type[BaseHTTPRequestHandler]:
        keep = self._keep
        paths = {names.http_path: signal for signal, names in NAMES.items()}

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                packed = self.headers.get("Content-Encoding") == "gzip"
                keep(paths[self.path], "http", gzip.decompress(body) if packed else body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Silent."""

        return Requests

    def close(self) -> None:
        self._grpc.stop(1).wait()
        self._http.shutdown()
        self._serving.join()
        self._http.server_close()

    def requests(self, signal: Signal) -> list[Any]:
        return [_TYPES[signal].FromString(body) for kind, _, body in self.bodies if kind is signal]


class Ran:
    """One run of the demo and all that was received of it."""

    def __init__(self, capture: Capture, report: Report, progress: list[Progress]) -> None:
        self.report, self.progress = report, progress
        self.transports = {(signal, transport) for signal, transport, _ in capture.bodies}
        self.last_received_ns = max(capture.received_ns)
        self.spans = [
            (resource.resource, span)
            for request in capture.requests(Signal.TRACES)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]
        self.logs = [
            (resource.resource, record)
            for request in capture.requests(Signal.LOGS)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]
        self.metrics = [
            (resource.resource, metric)
            for request in capture.requests(Signal.METRICS)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]


def _attributes(message: Any) -> dict[str, Any]:
    return {pair.key: pair.value for pair in message.attributes}


def _service(resource: Any) -> tuple[str, str]:
    attributes = _attributes(resource)
    return attributes["service.name"].string_value, attributes["service.version"].string_value


@pytest.fixture(scope="module")
def ran() -> Ran:
    capture = Capture()
    progress: list[Progress] = []
    try:
        report = run_demo(capture.grpc_url, capture.http_url, 5.0, 60.0, progress.append, seed=7, metric_interval_s=1.0)
    finally:
        capture.close()
    return Ran(capture, report, progress)


def _points(metric: Any) -> list[Any]:
    return list(getattr(metric, metric.WhichOneof("data")).data_points)


def test_what_the_demo_counts_is_what_arrives(ran: Ran) -> None:
    assert ran.report.acked == {
        Signal.TRACES: len(ran.spans),
        Signal.METRICS: sum(len(_points(metric)) for _, metric in ran.metrics),
        Signal.LOGS: len(ran.logs),
    }
    assert ran.report.complete
    assert ran.report.lost == ran.report.open == dict.fromkeys(Signal, 0)
    assert ran.report.requests > 100


def test_every_signal_travels_over_grpc_and_over_http(ran: Ran) -> None:
    assert ran.transports == {(signal, transport) for signal in Signal for transport in ("grpc", "http")}


def test_every_service_reports_spans_and_metrics_under_a_resource_of_its_own(ran: Ran) -> None:
    expected = {service.name for service in SERVICES}
    assert {_service(resource)[0] for resource, _ in ran.spans} == expected
    assert {_service(resource)[0] for resource, _ in ran.metrics} == expected
    pods = {_attributes(resource)["service.instance.id"].string_value for resource, _ in ran.metrics}
    assert len(pods) == sum(service.instances for service in SERVICES) + 3


def test_spans_are_of_all_five_kinds(ran: Ran) -> None:
    assert {span.kind for _, span in ran.spans} == {1, 2, 3, 4, 5}


def test_no_span_ends_before_it_starts_or_in_the_future_and_none_is_outside_its_parent_on_the_same_instance(
    ran: Ran,
) -> None:
    by_id = {span.span_id: (resource, span) for resource, span in ran.spans}
    for resource, span in ran.spans:
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano <= ran.last_received_ns
        parent = by_id.get(span.parent_span_id)
        if parent and parent[0] == resource:
            assert parent[1].start_time_unix_nano <= span.start_time_unix_nano
            assert span.end_time_unix_nano <= parent[1].end_time_unix_nano


def test_context_travels_between_services(ran: Ran) -> None:
    by_id = {span.span_id: (resource, span) for resource, span in ran.spans}
    crossed = Counter()
    for resource, span in ran.spans:
        if span.kind == Span.SPAN_KIND_SERVER and span.parent_span_id:
            caller, parent = by_id[span.parent_span_id]
            assert parent.trace_id == span.trace_id
            assert parent.kind == Span.SPAN_KIND_CLIENT
            crossed[_service(caller)[0], _service(resource)[0]] += 1
    assert {("frontend", "checkout"), ("checkout", "payment"), ("frontend", "cart"), ("checkout", "cart")} <= set(
        crossed
    )


def test_every_consumer_links_to_its_producer_in_the_same_trace_or_in_another(ran: Ran) -> None:
    kinds = {(span.trace_id, span.span_id): span.kind for _, span in ran.spans}
    consumers = [span for _, span in ran.spans if span.kind == Span.SPAN_KIND_CONSUMER]
    linked = [(span, link) for span in consumers for link in span.links]
    assert len(linked) == len(consumers) > 0
    assert {kinds[link.trace_id, link.span_id] for _, link in linked} == {Span.SPAN_KIND_PRODUCER}
    assert {span.trace_id == link.trace_id for span, link in linked} == {True, False}


def test_failures_are_recorded_as_exceptions_with_a_stack_trace_where_they_begin(ran: Ran) -> None:
    exceptions = [
        (span, _attributes(event)) for _, span in ran.spans for event in span.events if event.name == "exception"
    ]
    assert {attributes["exception.type"].string_value for _, attributes in exceptions} >= {"shop.AcquirerTimeout"}
    for span, attributes in exceptions:
        assert span.status.code == 2
        assert "Traceback" in attributes["exception.stacktrace"].string_value


def test_log_records_belong_to_spans_and_come_in_four_severities(ran: Ran) -> None:
    spans = {(span.trace_id, span.span_id) for _, span in ran.spans}
    assert {(record.trace_id, record.span_id) for _, record in ran.logs} <= spans
    assert {record.severity_text for _, record in ran.logs} == {"DEBUG", "INFO", "WARN", "ERROR"}
    assert {record.body.WhichOneof("value") for _, record in ran.logs} == {"string_value", "kvlist_value"}


def test_metrics_are_of_every_kind_that_an_sdk_makes_with_exemplars(ran: Ran) -> None:
    kinds = {metric.WhichOneof("data") for _, metric in ran.metrics}
    assert kinds == {"gauge", "sum", "histogram", "exponential_histogram"}
    sums = [metric.sum for _, metric in ran.metrics if metric.WhichOneof("data") == "sum"]
    assert {data.is_monotonic for data in sums} == {True, False}
    temporalities = {
        getattr(metric, metric.WhichOneof("data")).aggregation_temporality
        for _, metric in ran.metrics
        if metric.WhichOneof("data") != "gauge"
    }
    assert temporalities == {1, 2}
    spans = {(span.trace_id, span.span_id) for _, span in ran.spans}
    with_exemplars = {"sum", "histogram", "exponential_histogram"}
    exemplars = {
        (metric.WhichOneof("data"), (exemplar.trace_id, exemplar.span_id) in spans)
        for _, metric in ran.metrics
        if metric.WhichOneof("data") in with_exemplars
        for point in _points(metric)
        for exemplar in point.exemplars
    }
    assert exemplars >= {(kind, True) for kind in with_exemplars}
    assert {known for _, known in exemplars} == {True}


def test_attributes_are_of_every_kind_that_an_sdk_allows(ran: Ran) -> None:
    kinds = {pair.value.WhichOneof("value") for _, span in ran.spans for pair in span.attributes}
    assert kinds == {"string_value", "bool_value", "int_value", "double_value", "array_value"}


def test_the_bad_release_comes_later_on_every_instance_and_is_slower_and_fails_more(ran: Ran) -> None:
    calls: dict[str, list[Any]] = {"1.4.1": [], BAD_RELEASE.version: []}
    for resource, span in ran.spans:
        if span.name == BAD_RELEASE.operation and span.kind == Span.SPAN_KIND_SERVER:
            calls[_service(resource)[1]].append(span)
    before, after = calls["1.4.1"], calls[BAD_RELEASE.version]
    median = {
        version: sorted(span.end_time_unix_nano - span.start_time_unix_nano for span in spans)[len(spans) // 2]
        for version, spans in calls.items()
    }
    assert median[BAD_RELEASE.version] > 5 * median["1.4.1"]
    failing = [sum(span.status.code == 2 for span in spans) / len(spans) for spans in (before, after)]
    assert failing[1] > failing[0] + 0.05
    assert ran.progress[0].released == 0
    assert ran.progress[-1].released == 3


def test_a_failed_payment_fails_the_checkout_and_the_page(ran: Ran) -> None:
    by_id = {span.span_id: span for _, span in ran.spans}
    failed = [
        span
        for _, span in ran.spans
        if span.name == BAD_RELEASE.operation and span.kind == Span.SPAN_KIND_SERVER and span.status.code == 2
    ]
    assert failed
    for span in failed:
        above = []
        parent = by_id.get(span.parent_span_id)
        while parent:
            above.append((parent.name, parent.status.code))
            parent = by_id.get(parent.parent_span_id)
        assert above == [
            (BAD_RELEASE.operation, 2),
            ("checkout.PlaceOrder", 2),
            ("checkout.PlaceOrder", 2),
            ("POST /checkout", 2),
        ]


def test_it_stops_when_told_and_still_delivers_everything() -> None:
    capture = Capture()
    stop = threading.Event()

    def halt(progress: Progress) -> None:
        if progress.requests > 10:
            stop.set()

    try:
        report = run_demo(capture.grpc_url, capture.http_url, None, 50.0, halt, stop=stop, seed=1)
    finally:
        capture.close()
    assert report.complete
    assert report.made[Signal.TRACES] > 50


def test_it_ends_and_counts_what_was_not_delivered_when_the_pipeline_goes_away() -> None:
    capture = Capture()
    closing: list[threading.Thread] = []

    def close(progress: Progress) -> None:
        if progress.requests > 10 and not closing:
            closing.append(threading.Thread(target=capture.close))
            closing[0].start()

    report = run_demo(capture.grpc_url, capture.http_url, 3.0, 50.0, close, seed=1)
    closing[0].join()
    assert not report.complete
    assert report.lost[Signal.TRACES] > 0
    assert report.made == {
        signal: report.acked[signal] + report.lost[signal] + report.open[signal] for signal in Signal
    }
    arrived = sum(
        len(scope.spans)
        for request in capture.requests(Signal.TRACES)
        for resource in request.resource_spans
        for scope in resource.scope_spans
    )
    assert report.acked[Signal.TRACES] <= arrived


def test_ctrl_c_ends_the_traffic_between_two_requests_and_everything_is_delivered() -> None:
    capture = Capture()
    previous = getsignal(SIGINT)

    pressed: list[Progress] = []

    def once(progress: Progress) -> None:
        # The last progress comes when Ctrl-C has its usual meaning again: it must not be pressed a second time.
        if not pressed and progress.requests > 10:
            pressed.append(progress)
            raise_signal(SIGINT)

    try:
        report = run_demo(capture.grpc_url, capture.http_url, None, 50.0, once, seed=1)
    finally:
        capture.close()
    assert report.complete
    assert getsignal(SIGINT) is previous


def test_it_refuses_to_start_where_nothing_listens() -> None:
    with pytest.raises(ConfigurationError, match=r"demo\.endpoint_grpc: must name a listening receiver"):
        run_demo("http://127.0.0.1:1", "http://127.0.0.1:1", 1.0, 1.0, lambda _: None)


@pytest.mark.parametrize(("duration_s", "rate_per_s"), [(0.0, 1.0), (1.0, 0.0), (1.0, float("nan")), (-1.0, 1.0)])
def test_it_refuses_a_duration_or_a_rate_that_is_not_above_zero(duration_s: float, rate_per_s: float) -> None:
    with pytest.raises(ConfigurationError, match="must be a finite number above 0"):
        run_demo("http://127.0.0.1:1", "http://127.0.0.1:1", duration_s, rate_per_s, lambda _: None)
