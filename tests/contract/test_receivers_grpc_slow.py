"""gRPC clients that open a call and do not send: cancelled after their time, so that they hold no thread for ever."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from schemas.signals import NAMES, Signal
from tests.receivers_under_test import CHANNEL, sample, serving


def test_a_call_whose_body_does_not_come_is_cancelled_and_frees_its_thread() -> None:
    with serving(grpc_threads=1, body_timeout_s=1.5) as served:
        never = threading.Event()

        def silent() -> Iterator[bytes]:
            never.wait(30)
            yield b""

        with grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}", options=CHANNEL) as channel:
            path = f"/{NAMES[Signal.LOGS].grpc_service}/Export"
            slow: Any = channel.stream_unary(path, request_serializer=None, response_deserializer=None)
            call = slow.future(silent(), timeout=30)
            assert served.export(Signal.LOGS, sample(Signal.LOGS)).status is grpc.StatusCode.OK
            error = call.exception(timeout=30)
            never.set()
        assert isinstance(error, grpc.RpcError)
        assert error.code() is grpc.StatusCode.CANCELLED
        assert served.receivers.tally.admission.requests == 0


def test_a_call_that_ends_without_a_message_is_malformed() -> None:
    with (
        serving() as served,
        grpc.insecure_channel(f"127.0.0.1:{served.receivers.grpc_port}", options=CHANNEL) as channel,
    ):
        path = f"/{NAMES[Signal.LOGS].grpc_service}/Export"
        empty: Any = channel.stream_unary(path, request_serializer=None, response_deserializer=None)
        error = empty.future(iter(()), timeout=30).exception(timeout=30)
        assert isinstance(error, grpc.RpcError)
        assert (error.code(), error.details()) == (
            grpc.StatusCode.INVALID_ARGUMENT,
            "request: must be exactly one message; got none",
        )
