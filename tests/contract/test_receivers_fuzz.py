"""Any bytes on both receivers are answered with success or a refusal of the client's, never with a fault of ours."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.signals import NAMES, Signal
from tests.otlp_requests import mutate
from tests.receivers_under_test import CHANNEL, JSON, PROTOBUF, Served, sample, serving

BOUNDED = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIGNALS = st.sampled_from(list(Signal))


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def exports(served: Served) -> Iterator[dict[Signal, Any]]:
    with grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}", options=CHANNEL) as channel:
        yield {signal: channel.unary_unary(f"/{NAMES[signal].grpc_service}/Export") for signal in Signal}


def _assert_no_fault_of_ours(served: Served) -> None:
    outcomes = {dict(labels)["outcome"] for labels in served.receivers.tally.of("requests")}
    assert outcomes <= {"accepted", "partial", "malformed", "unsupported", "too_large"}


def _mutated(seed: int, signal: Signal) -> bytes:
    rng = random.Random(seed)
    return mutate(rng, sample(signal, rng.randrange(50), faults=rng.choice([0.0, 0.05])))


@BOUNDED
@given(signal=SIGNALS, body=st.one_of(st.binary(max_size=300), st.integers(0, 2**32)))
def test_any_message_over_grpc(exports: dict[Signal, Any], served: Served, signal: Signal, body: bytes | int) -> None:
    message = _mutated(body, signal) if isinstance(body, int) else body
    error = exports[signal].future(message, timeout=20).exception()
    assert error is None or error.code() is grpc.StatusCode.INVALID_ARGUMENT
    _assert_no_fault_of_ours(served)


@BOUNDED
@given(
    signal=SIGNALS,
    body=st.one_of(st.binary(max_size=300), st.integers(0, 2**32)),
    media=st.sampled_from([PROTOBUF, PROTOBUF, JSON, "", "text/plain"]),
    encoding=st.sampled_from(["", "identity", "gzip", "deflate", "zstd", "br"]),
    tenant=st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
)
def test_any_body_over_http(
    served: Served, signal: Signal, body: bytes | int, media: str, encoding: str, tenant: str
) -> None:
    content = _mutated(body, signal) if isinstance(body, int) else body
    answered = served.post(signal, content, media, content_encoding=encoding, x_tenant_id=tenant)
    assert answered.status in (200, 400, 413, 415)
    _assert_no_fault_of_ours(served)


_NAMES = ["resourceSpans", "scopeSpans", "spans", "traceId", "startTimeUnixNano", "kind", "attributes", "value"]
_NAMES += ["resourceLogs", "scopeLogs", "logRecords", "body", "values", "stringValue", "intValue", "bytesValue"]
_NAMES += ["arrayValue", "kvlistValue"]
_VALUES: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=4),
    max_leaves=20,
)


@BOUNDED
@given(signal=SIGNALS, document=_VALUES)
def test_any_json_over_http(served: Served, signal: Signal, document: Any) -> None:
    answered = served.post(signal, json.dumps(document), JSON)
    assert answered.status in (200, 400, 413)
    _assert_no_fault_of_ours(served)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_bytes_on_the_http_port(served: Served, seed: int) -> None:
    rng = random.Random(seed)
    body = sample(Signal.LOGS, 3)
    request = (
        b"POST /v1/logs HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/x-protobuf\r\n"
        b"Content-Length: %d\r\n\r\n" % len(body) + body
    )
    answer = served.send_raw(mutate(rng, request), end=True)
    codes = [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert all(code < 500 for code in codes)
    assert served.post(Signal.LOGS, body).status == 200
    _assert_no_fault_of_ours(served)
