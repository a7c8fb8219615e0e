"""The standard span and the requests that every measure sends.

363 bytes of OTLP protobuf: 8 span and 8 resource attributes, 512 spans a request in four resources, 12 spans a trace,
5 % errors with one event. Every span is distinct. A file of requests is a sequence of UInt32 length, bytes.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span, Status

SPANS_A_REQUEST = 512
SPANS_A_TRACE = 12
RESOURCES_A_REQUEST = 4
ERROR_SHARE = 0.05
SPREAD_NS = 60_000_000_000
# Several batches: working memory has grown to its size, code is compiled or loaded, connections are open.
WARM_UP_REQUESTS = 400

_SERVICES = ("frontend", "cart", "checkout", "payment", "shipping", "currency", "email", "recommendation")
_OPERATIONS = (
    "GET /api/products",
    "POST /api/cart",
    "grpc.hipstershop.Cart/AddItem",
    "SELECT orders",
    "redis GET",
    "charge",
    "quote",
    "render",
)
_KINDS = (Span.SPAN_KIND_INTERNAL, Span.SPAN_KIND_SERVER, Span.SPAN_KIND_CLIENT)
_STATUS_CODES = (200,) * 20 + (500, 404)
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Requests in a file, and others of the same kind that go before them and are not measured.

    `bytes_a_span` counts whole requests, resources included.
    """

    path: Path
    requests: int
    spans_a_request: int
    bytes_a_span: float
    warm_up: Path
    warm_up_requests: int

    @property
    def spans(self) -> int:
        """Spans that are measured."""
        return self.requests * self.spans_a_request

    @property
    def warm_up_spans(self) -> int:
        """Spans that go before."""
        return self.warm_up_requests * self.spans_a_request


def _pair(key: str, value: str | int) -> KeyValue:
    return KeyValue(
        key=key, value=AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    )


def _resource(rng: random.Random, service: str) -> Resource:
    return Resource(
        attributes=[
            _pair("service.name", service),
            _pair("service.version", "1.4.2"),
            _pair("deployment.environment.name", "prod"),
            _pair("host.name", f"ip-10-0-3-{rng.randint(1, 50)}"),
            _pair("k8s.pod.name", f"{service}-7d9f-{rng.randint(0, 40):04x}"),
            _pair("telemetry.sdk.language", "python"),
            _pair("telemetry.sdk.name", "opentelemetry"),
            _pair("cloud.region", "westus2"),
        ]
    )


def _span(rng: random.Random, trace_id: bytes, parent_span_id: bytes, start_ns: int) -> Span:
    span = Span(
        trace_id=trace_id,
        span_id=rng.randbytes(8),
        parent_span_id=parent_span_id,
        name=rng.choice(_OPERATIONS),
        kind=rng.choice(_KINDS),
        start_time_unix_nano=start_ns,
        end_time_unix_nano=start_ns + int(rng.lognormvariate(15, 1)),
        attributes=[
            _pair("http.request.method", "GET"),
            _pair("url.path", f"/api/products/{rng.randint(1, 5000)}"),
            _pair("server.address", f"10.0.3.{rng.randint(1, 50)}"),
            _pair("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36"),
            _pair("network.protocol.version", "1.1"),
            _pair("url.scheme", "http"),
            _pair("http.response.status_code", rng.choice(_STATUS_CODES)),
            _pair("server.port", 8080),
        ],
    )
    if rng.random() < ERROR_SHARE:
        span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="boom"))
        event = span.events.add(name="exception", time_unix_nano=span.end_time_unix_nano)
        event.attributes.append(_pair("exception.type", "ValueError"))
    return span


def request(rng: random.Random, *, first_start_ns: int, spans: int = SPANS_A_REQUEST) -> bytes:
    """One export request; spans start within a minute from `first_start_ns` on (Unix ns)."""
    message = ExportTraceServiceRequest()
    resources = min(RESOURCES_A_REQUEST, max(1, spans // SPANS_A_TRACE))
    for share in range(resources):
        group: ResourceSpans = message.resource_spans.add()
        group.resource.CopyFrom(_resource(rng, rng.choice(_SERVICES)))
        scope = group.scope_spans.add()
        scope.scope.name, scope.scope.version = "opentelemetry.instrumentation.asgi", "0.66b2"
        trace_id, parent = b"", b""
        for number in range(spans * share // resources, spans * (share + 1) // resources):
            if not trace_id or number % SPANS_A_TRACE == 0:
                trace_id, parent = rng.randbytes(16), b""
            span = _span(rng, trace_id, parent, first_start_ns + rng.randrange(SPREAD_NS))
            parent = span.span_id
            scope.spans.append(span)
    return message.SerializeToString()


def write(path: Path, bodies: Sequence[bytes]) -> None:
    """Write requests as a file that `read` reads."""
    with path.open("wb") as file:
        for body in bodies:
            file.write(_LENGTH.pack(len(body)))
            file.write(body)


def read(path: Path) -> Iterator[bytes]:
    """The requests of a file, in order."""
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield file.read(_LENGTH.unpack(head)[0])


def make(
    folder: Path,
    requests: int,
    *,
    seed: int,
    first_start_ns: int,
    spans: int = SPANS_A_REQUEST,
    warm_up_requests: int = WARM_UP_REQUESTS,
) -> Dataset:
    """Write distinct requests into `folder`; equal arguments give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    files = []
    for name, count in (("warm-up", warm_up_requests), ("measured", requests)):
        bodies = [request(rng, first_start_ns=first_start_ns, spans=spans) for _ in range(count)]
        write(folder / name, bodies)
        files.append((folder / name, sum(map(len, bodies))))
    (warm_up, _), (measured, size_bytes) = files
    return Dataset(measured, requests, spans, size_bytes / (requests * spans), warm_up, warm_up_requests)
