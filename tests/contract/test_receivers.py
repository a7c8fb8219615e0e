"""What clients of both receivers are told, by real servers on free ports."""

from __future__ import annotations

import gzip
import json
import socket
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ingest.serve import Receivers
from ingest.settings import IngestSettings
from ingest.validate import validate
from schemas.errors import ConfigurationError, LogUnavailableError
from schemas.settings import RetentionSettings
from schemas.signals import NAMES, Signal, topic
from tests.memory_log import MemoryLog
from tests.otlp_requests import WINDOW
from tests.receivers_under_test import CHANNEL, JSON, PROTOBUF, Answered, Served, sample, serving

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

OK = grpc.StatusCode.OK
RESPONSES: dict[Signal, Any] = {
    Signal.TRACES: ExportTraceServiceResponse,
    Signal.METRICS: ExportMetricsServiceResponse,
    Signal.LOGS: ExportLogsServiceResponse,
}
COMPRESS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstd.compress}
MIB = 1024 * 1024

# By which the receivers go here, whose clock is the samples'; the window of the samples is narrower.
SERVED_WINDOW = {
    **WINDOW,
    "oldest_ns": WINDOW["now_ns"] - RetentionSettings().logs_days * 86400 * 10**9,
    "newest_ns": WINDOW["now_ns"] + 86400 * 10**9,
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


def _send(served: Served, transport: str, signal: Signal, body: bytes, **headers: str) -> Answered:
    return served.export(signal, body, None, **headers) if transport == "grpc" else served.post(signal, body, **headers)


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("signal", Signal)
def test_an_accepted_request_is_in_the_log_byte_for_byte_with_tenant_time_and_count(
    served: Served, transport: str, signal: Signal
) -> None:
    body = sample(signal)
    answered = _send(served, transport, signal, body, x_tenant_id=f"team-{transport}")
    assert answered.status in (OK, 200)
    assert answered.body == b""
    entry = served.log.entries[-1]
    assert (entry.topic, entry.tenant, entry.value) == (topic(signal), f"team-{transport}", body)
    assert (entry.items, entry.rejected) == (validate(signal, body, **WINDOW).items, 0)
    assert entry.received_at_ns == WINDOW["now_ns"]


@pytest.mark.parametrize("encoding", COMPRESS)
def test_compressed_http_bodies_are_appended_decompressed(served: Served, encoding: str) -> None:
    body = sample(Signal.LOGS, 5)
    answered = served.post(Signal.LOGS, COMPRESS[encoding](body), content_encoding=encoding)
    assert (answered.status, served.log.entries[-1].value) == (200, body)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_grpc_messages_are_appended_decompressed(served: Served, compression: grpc.Compression) -> None:
    body = sample(Signal.LOGS, 6)
    assert served.export(Signal.LOGS, body, compression=compression).status is OK
    assert served.log.entries[-1].value == body


def test_chunked_http_bodies_are_read(served: Served) -> None:
    body = sample(Signal.TRACES, 7)
    answered = served.post(Signal.TRACES, iter([body[:10], body[10:]]))
    assert (answered.status, served.log.entries[-1].value) == (200, body)


def test_json_is_appended_as_protobuf_and_answered_in_json(served: Served) -> None:
    document = {
        "resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "hi"}, "severityNumber": 9}]}]}]
    }
    answered = served.post(Signal.LOGS, json.dumps(document), JSON)
    assert (answered.status, answered.body, answered.headers["content-type"]) == (200, b"{}", JSON)
    assert b"hi" in served.log.entries[-1].value
    assert served.log.entries[-1].items == 1


def test_a_content_type_may_carry_parameters(served: Served) -> None:
    assert served.post(Signal.LOGS, b"{}", "application/json; charset=utf-8").status == 200


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_an_empty_request_is_a_success_that_appends_nothing(served: Served, transport: str) -> None:
    before = len(served.log.entries)
    assert _send(served, transport, Signal.TRACES, b"").status in (OK, 200)
    assert len(served.log.entries) == before


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("signal", Signal)
def test_partial_success_says_how_many_were_rejected_and_why(served: Served, transport: str, signal: Signal) -> None:
    body = next(
        body
        for body in (sample(signal, seed, faults=0.05) for seed in range(1000))
        if (verdict := validate(signal, body, **SERVED_WINDOW)).rejected and verdict.items
    )
    verdict = validate(signal, body, **SERVED_WINDOW)
    answered = _send(served, transport, signal, body)
    assert answered.status in (OK, 200)
    partial = RESPONSES[signal].FromString(answered.body).partial_success
    rejected = {field.name: value for field, value in partial.ListFields() if field.name.startswith("rejected_")}
    assert list(rejected.values()) == [verdict.rejected]
    assert partial.error_message == (verdict.reason)
    entry = served.log.entries[-1]
    assert (entry.value, entry.items, entry.rejected) == (verdict.body, verdict.items, verdict.rejected)


def test_partial_success_in_json_uses_the_names_of_json(served: Served) -> None:
    spans = [{"traceId": "00" * 16, "startTimeUnixNano": "1"}, {"traceId": "01" * 16}]
    document = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    answered = served.post(Signal.TRACES, json.dumps(document), JSON)
    assert answered.status == 200
    assert json.loads(answered.body)["partialSuccess"]["rejectedSpans"] == "1"


def test_a_request_that_is_rejected_whole_is_still_counted_in_the_log(served: Served) -> None:
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "1"}]}]}]}
    assert served.post(Signal.TRACES, json.dumps(document), JSON).status == 200
    assert (served.log.entries[-1].items, served.log.entries[-1].rejected) == (0, 1)


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("tenant", ["a b", "x" * 129, "../up", "a;b"])
def test_a_tenant_outside_its_alphabet_is_refused(served: Served, transport: str, tenant: str) -> None:
    answered = _send(served, transport, Signal.LOGS, sample(Signal.LOGS), x_tenant_id=tenant)
    assert answered.status in (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert answered.error is not None
    assert answered.error.message.startswith("tenant: must match [A-Za-z0-9._-]{0,128}; got ")


@pytest.mark.parametrize("values", [("shop", "bank"), ("shop", "shop"), ("", "shop"), ("shop", ""), ("a", "b", "c")])
def test_more_than_one_tenant_is_refused_by_both_and_appended_by_neither(
    served: Served, values: tuple[str, ...]
) -> None:
    before = len(served.log.entries)
    body = sample(Signal.LOGS)
    lines = "".join(f"X-Tenant-Id: {value}\r\n" for value in values)
    answer = served.send_raw(
        f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\n{lines}Connection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    with grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}", options=CHANNEL) as channel:
        export: Any = channel.unary_unary(f"/{NAMES[Signal.LOGS].grpc_service}/Export")
        with pytest.raises(grpc.RpcError) as refused:
            export(body, timeout=20, metadata=[("x-tenant-id", value) for value in values])
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for told in (answer.decode(), refused.value.details()):
        assert f"x-tenant-id: must be given once at most; got {len(values)} values: '{values[0]}', " in told
    assert len(served.log.entries) == before


@pytest.mark.parametrize("name", ["Content-Type", "Content-Encoding"])
def test_more_than_one_type_or_encoding_is_refused(served: Served, name: str) -> None:
    answer = served.send_raw(
        f"POST /v1/logs HTTP/1.1\r\nHost: x\r\nContent-Type: {JSON}\r\nContent-Encoding: identity\r\n"
        f"{name}: {JSON}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode()
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f"{name.lower()}: must be given once at most; got 2 values".encode() in answer


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_where_tenants_are_listed_the_others_are_refused_for_good_by_name(transport: str) -> None:
    body = sample(Signal.LOGS)
    with serving(tenants=("shop", "bank")) as served:
        for tenant in ("shop", "bank"):
            assert _send(served, transport, Signal.LOGS, body, x_tenant_id=tenant).status in (OK, 200)
        for headers in ({"x_tenant_id": "Shop"}, {"x_tenant_id": "invented"}, {}):
            refused = _send(served, transport, Signal.LOGS, body, **headers)
            assert refused.status in (grpc.StatusCode.PERMISSION_DENIED, 403)
            assert (refused.retry_delay_s, refused.headers.get("retry-after")) == (None, None)
            assert refused.error is not None
            value = headers.get("x_tenant_id", "")
            assert refused.error.message == f"x-tenant-id: must be one of ingest.tenants; got '{value}'"
        assert [entry.tenant for entry in served.log.entries] == ["shop", "bank"]
    with serving(tenants=("", "shop")) as served:
        assert _send(served, transport, Signal.LOGS, body).status in (OK, 200)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_malformed_bytes_are_refused_for_good_with_offset_and_rule(served: Served, transport: str) -> None:
    answered = _send(served, transport, Signal.TRACES, b"\x0a\xff")
    assert answered.status in (grpc.StatusCode.INVALID_ARGUMENT, 400)
    assert answered.error is not None
    assert "byte 0" in answered.error.message
    assert (answered.retry_delay_s, answered.headers.get("retry-after")) == (None, None)


@pytest.mark.parametrize(
    ("media", "encoding", "body", "status"),
    [
        ("text/plain", "", b"x", 415),
        ("", "", b"x", 415),
        (PROTOBUF, "br", b"x", 415),
        (PROTOBUF, "gzip", b"not gzip", 400),
        (PROTOBUF, "zstd", zstd.compress(b"x" * 99)[:-3], 400),
        (JSON, "", b'{"resourceSpans": 3}', 400),
        (JSON, "", b"{", 400),
        (JSON, "", b"\xff\xfe", 400),
        (JSON, "", b"[" * 100_000, 400),
        (JSON, "gzip", gzip.compress(b'{"resourceSpans":[' + b"{}," * 500_000 + b"{}]}"), 413),
        (JSON, "", b'{"resourceSpans":[], "x":"' + b"x" * 11 * MIB + b'"}', 413),
        (PROTOBUF, "gzip", gzip.compress(bytes(40 * MIB)), 413),
    ],
)
def test_http_refusals(served: Served, media: str, encoding: str, body: bytes, status: int) -> None:
    headers = {"content_encoding": encoding} if encoding else {}
    answered = served.post(Signal.TRACES, body, media, **headers)
    assert answered.status == status
    assert "retry-after" not in answered.headers
    if media != PROTOBUF:
        assert json.loads(answered.body)["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v1/traces", 405), ("POST", "/v1/profiles", 404)])
def test_other_paths_and_methods_are_refused_in_the_same_shape(
    served: Served, method: str, path: str, status: int
) -> None:
    answered = served.call(method, path, None, {})
    assert answered.status == status
    assert set(json.loads(answered.body)) == {"code", "message"}


def test_an_unknown_grpc_method_is_unimplemented(served: Served) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}") as channel:
        method: Any = channel.unary_unary("/opentelemetry.proto.collector.trace.v1.TraceService/Import")
        with pytest.raises(grpc.RpcError) as refused:
            method(b"", timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_body_over_the_bound_is_refused_by_its_length_and_while_it_streams() -> None:
    with serving(max_body_bytes=64 * 1024) as served:
        body = bytes(64 * 1024 + 1)
        by_length = served.post(Signal.TRACES, body)
        streamed = served.post(Signal.TRACES, (body[at : at + 1000] for at in range(0, len(body), 1000)))
        assert [by_length.status, streamed.status] == [413, 413]
        assert served.log.entries == []


def test_a_grpc_message_over_the_bound_is_refused_compressed_or_not() -> None:
    with serving(max_decompressed_bytes=64 * 1024) as served:
        for compression in (None, grpc.Compression.Gzip):
            refused = served.export(
                Signal.TRACES, bytes(256 * MIB if compression else 65 * 1024), compression=compression
            )
            # Without RetryInfo an OTLP client does not retry it.
            assert (refused.status, refused.retry_delay_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, None)
        assert served.export(Signal.LOGS, sample(Signal.LOGS)).status is OK


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_over_the_bound_on_requests_clients_are_told_when_to_come_again(transport: str) -> None:
    log = MemoryLog()
    with serving(log, max_concurrent_requests=1, retry_after_s=2.5) as served:
        log.gate.clear()
        held: list[Answered] = []
        holder = threading.Thread(target=lambda: held.append(served.export(Signal.LOGS, sample(Signal.LOGS))))
        holder.start()
        assert log.entered.wait(10)
        refused = _send(served, transport, Signal.LOGS, sample(Signal.LOGS))
        log.gate.set()
        holder.join()
    assert refused.status in (grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
    assert refused.retry_delay_s == 2.5
    assert refused.headers.get("retry-after") == ("3" if transport == "http" else None)
    assert [answered.status for answered in held] == [OK]


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_over_the_bound_on_bytes_clients_are_told_when_to_come_again(transport: str) -> None:
    log = MemoryLog()
    bounds = {
        "max_body_bytes": MIB,
        "max_decompressed_bytes": MIB,
        "max_json_memory_bytes": MIB,
        "max_in_flight_bytes": 3 * MIB,
        "max_tenant_share": 1,
        "max_signal_share": 1,
        "max_peer_share": 1,
        "max_arriving_bytes": MIB,
    }
    body = _padded(900 * 1024)
    with serving(log, **bounds) as served:
        log.gate.clear()
        held: list[Answered] = []
        holders = [
            threading.Thread(target=lambda: held.append(served.export(Signal.LOGS, body, x_tenant_id="held")))
            for _ in range(3)
        ]
        for holder in holders:
            holder.start()
        assert log.entered.wait(10)
        _until(lambda: served.receivers.tally.admission.in_flight_bytes == 3 * len(body))
        refused = _send(served, transport, Signal.LOGS, body)
        log.gate.set()
        for holder in holders:
            holder.join()
        assert served.receivers.tally.admission.in_flight_bytes == 0
    assert refused.status in (grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
    assert refused.retry_delay_s == 1.0
    assert [answered.status for answered in held] == [OK] * 3


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("failure", [LogUnavailableError("log: disk full", retry_after_s=4), OSError(28, "No space")])
def test_a_log_that_is_away_pushes_back_and_recovers(transport: str, failure: Exception) -> None:
    log = MemoryLog()
    with serving(log) as served:
        log.failure = failure
        refused = _send(served, transport, Signal.LOGS, sample(Signal.LOGS))
        assert refused.status in (grpc.StatusCode.UNAVAILABLE, 503)
        assert refused.retry_delay_s == (4.0 if isinstance(failure, LogUnavailableError) else 1.0)
        assert not served.receivers.readiness.ready
        log.failure = None
        assert _send(served, transport, Signal.LOGS, sample(Signal.LOGS)).status in (OK, 200)
        assert served.receivers.readiness.ready


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_log_that_hangs_pushes_back_and_what_did_not_begin_is_withdrawn(transport: str) -> None:
    log = MemoryLog()
    with serving(log, append_timeout_s=0.5, coalesce_linger_ms=0) as served:
        log.gate.clear()
        begun = _send(served, transport, Signal.LOGS, sample(Signal.LOGS, 1))
        queued = _send(served, transport, Signal.LOGS, sample(Signal.LOGS, 2))
        log.gate.set()
    for refused in (begun, queued):
        assert refused.status in (grpc.StatusCode.UNAVAILABLE, 503)
        assert refused.retry_delay_s == 1.0
    assert [entry.value for entry in log.entries] == [sample(Signal.LOGS, 1)]


def test_health_is_served_for_the_whole_and_each_service_even_when_exports_are_stuck() -> None:
    log = MemoryLog()
    with serving(log, grpc_threads=1) as served:
        log.gate.clear()
        holder = threading.Thread(target=served.export, args=(Signal.LOGS, sample(Signal.LOGS)))
        holder.start()
        assert log.entered.wait(10)
        with grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            for service in ("", *(names.grpc_service for names in NAMES.values())):
                answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
            with pytest.raises(grpc.RpcError) as unknown:
                stub.Check(health_pb2.HealthCheckRequest(service="other"), timeout=10)
            assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        log.gate.set()
        holder.join()


def test_a_watcher_of_health_hears_that_we_stop() -> None:
    with serving() as served, grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=30)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stopping = threading.Thread(target=served.receivers.stop)
        stopping.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        stopping.join()


PREFLIGHT = {"access_control_request_method": "POST", "access_control_request_headers": "content-type,traceparent"}


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1:8080"])
def test_a_page_of_this_machine_may_send_from_a_browser(served: Served, origin: str) -> None:
    preflight = served.call("OPTIONS", "/v1/traces", None, {"origin": origin, **PREFLIGHT})
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == origin
    assert preflight.headers["access-control-allow-headers"] == "content-type,traceparent"
    sent = served.post(Signal.TRACES, b"{}", JSON, origin=origin)
    assert (sent.status, sent.headers["access-control-allow-origin"]) == (200, origin)


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost.evil.example", "null", "http://localhost:1/x"]
)
def test_a_page_from_elsewhere_may_not(served: Served, origin: str) -> None:
    preflight = served.call("OPTIONS", "/v1/traces", None, {"origin": origin, **PREFLIGHT})
    assert preflight.status == 400
    assert "access-control-allow-origin" not in preflight.headers


def test_no_page_may_when_no_origin_is_named() -> None:
    with serving(cors_origins=()) as served:
        preflight = served.call("OPTIONS", "/v1/traces", None, {"origin": "http://localhost:3000", **PREFLIGHT})
        assert "access-control-allow-origin" not in preflight.headers


def test_an_orderly_stop_answers_what_is_under_way_and_closes_both_ports() -> None:
    log = MemoryLog()
    with serving(log) as served:
        log.gate.clear()
        answers: list[Answered] = []
        clients = [
            threading.Thread(target=lambda t=t: answers.append(_send(served, t, Signal.LOGS, sample(Signal.LOGS))))
            for t in ("grpc", "http")
        ]
        for client in clients:
            client.start()
        _until(lambda: served.receivers.tally.admission.requests == 2)
        _until(log.entered.is_set)
        stopping = threading.Thread(target=served.receivers.stop)
        stopping.start()
        _until(lambda: not _accepts(served.receivers.http_port))
        log.gate.set()
        stopping.join()
        for client in clients:
            client.join()
        assert sorted(str(answer.status) for answer in answers) == ["200", "StatusCode.OK"]
        assert (
            sum(entry.items for entry in log.entries) == 2 * validate(Signal.LOGS, sample(Signal.LOGS), **WINDOW).items
        )
        assert not _accepts(served.receivers.grpc_port)


def test_a_stop_is_bounded_when_the_log_hangs_on_nothing_but_slow_clients() -> None:
    with serving(drain_timeout_s=1) as served:
        slow = socket.create_connection(("127.0.0.1", served.receivers.http_port))
        slow.sendall(
            b"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 9\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert slow.recv(65536).startswith(b"HTTP/1.1 100 ")
        served.receivers.stop()
        assert not _accepts(served.receivers.http_port)
        slow.close()


@pytest.mark.parametrize("port", ["grpc_port", "http_port"])
def test_a_port_in_use_is_refused_by_name_and_leaves_nothing_running(port: str) -> None:
    with serving() as first:
        taken = getattr(first.receivers, port)
        second = Receivers(
            MemoryLog(), IngestSettings(**{"grpc_port": 0, "http_port": 0, port: taken}), RetentionSettings()
        )
        with pytest.raises(
            ConfigurationError, match=f"ingest.{port}: must be a free port of this machine; got 127.0.0.1:{taken}"
        ):
            second.start()
        assert not _accepts(second.grpc_port) or second.grpc_port == 0
        assert first.post(Signal.LOGS, sample(Signal.LOGS)).status == 200


@pytest.mark.parametrize("name", ["grpc_host", "http_host"])
@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.com"])  # noqa: S104
def test_an_address_beyond_loopback_is_refused_unless_it_is_wanted(name: str, host: str) -> None:
    settings = IngestSettings(**{"grpc_port": 0, "http_port": 0, name: host})
    with pytest.raises(ConfigurationError, match=rf"ingest\.{name}: must be a loopback address .* got '{host}'"):
        Receivers(MemoryLog(), settings, RetentionSettings())
    Receivers(MemoryLog(), settings, RetentionSettings(), listen_beyond_loopback=True).stop()


def test_our_own_counts_say_what_clients_were_told() -> None:
    with serving() as served:
        body = sample(Signal.LOGS)
        served.post(Signal.LOGS, body)
        served.export(Signal.LOGS, b"\x0a\xff")
        tally = served.receivers.tally
        items = validate(Signal.LOGS, body, **WINDOW).items
        logs = ("signal", Signal.LOGS)
        assert tally.of("requests") == {
            (logs, ("transport", "http"), ("outcome", "accepted")): 1,
            (logs, ("transport", "grpc"), ("outcome", "malformed")): 1,
        }
        assert (tally.of("accepted"), tally.of("rejected")) == ({(logs,): items}, {(logs,): 0})
        assert (tally.of("records"), tally.of("record_bytes")) == ({(logs,): 1}, {(logs,): len(body)})


def _padded(size_bytes: int) -> bytes:
    """A request of one log record of about `size_bytes`."""
    text = b"\x0a" + _varint(size_bytes) + b"x" * size_bytes
    record = b"\x2a" + _varint(len(text)) + text
    scope = b"\x12" + _varint(len(record)) + record
    resource = b"\x12" + _varint(len(scope)) + scope
    return b"\x0a" + _varint(len(resource)) + resource


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "the state that the test waits for did not come"
        time.sleep(0.01)


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True
