"""OTLP over gRPC: the three Export services on raw bytes, and grpc.health.v1. Nothing is deserialized here.

The methods are served as streams of requests, which are the same on the wire as one request: so our code runs before
the body is read, which lets us refuse unread what is over a bound, and bound how long a body may take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health, health_pb2

from ingest.admission import Admission
from ingest.grpc_bodies import GrpcBodies, peer_of_call
from ingest.receive import Reception, encode_receipt
from ingest.settings import IngestSettings
from ingest.status import PROTOBUF, answer_to, grpc_trailers, message_of
from ingest.tally import Tally
from ingest.tenants import Tenants
from schemas.errors import ConfigurationError, LogUnavailableError, MalformedRequestError, SluicewayError
from schemas.signals import NAMES, Signal
from schemas.telemetry import histogram

_TRANSPORT = "grpc"
_duration = histogram("sluiceway_ingest_request_duration_seconds")
_REFUSABLE_STREAMS = 1024
# Threads for what is being cut or refused while others hold theirs.
_SPARE_THREADS = 8
_SERVICES = tuple(names.grpc_service for names in NAMES.values())


class _On:
    """A method that grpcio runs on a pool of its own, so that it never queues behind exports."""

    def __init__(self, behavior: Callable[[Any, grpc.ServicerContext], Any], pool: ThreadPoolExecutor) -> None:
        self._behavior = behavior
        self.experimental_thread_pool = pool

    def __call__(self, request: Any, context: grpc.ServicerContext) -> Any:
        return self._behavior(request, context)


class GrpcReceiver(grpc.GenericRpcHandler):
    """The gRPC server. `start` binds and serves, `stop` drains; each is called once, in this order."""

    def __init__(
        self,
        reception: Reception,
        admission: Admission,
        tally: Tally,
        settings: IngestSettings,
        *,
        signals_apart: bool = False,
    ) -> None:
        """`signals_apart` gives each signal `grpc_threads` of its own: a topic that stalls then holds up no other."""
        self._reception = reception
        self._admission = admission
        self._tally = tally
        self._settings = settings
        self._methods = {f"/{names.grpc_service}/Export": signal for signal, names in NAMES.items()}
        self._tenants = Tenants(settings)
        self._bodies = GrpcBodies(settings.max_arriving_calls, settings.body_timeout_s)
        # grpcio reads a message on the thread that serves its call. There is one for each call that reads and for each
        # that is admitted, so that none waits for a thread. They start as needed; `_checks` bounds how many work.
        self._exports = ThreadPoolExecutor(
            settings.max_arriving_calls + settings.max_concurrent_requests + _SPARE_THREADS,
            thread_name_prefix="ingest-grpc",
        )
        together = threading.Semaphore(settings.grpc_threads)
        self._checks = {
            signal: threading.Semaphore(settings.grpc_threads) if signals_apart else together for signal in Signal
        }
        self._control = ThreadPoolExecutor(2, thread_name_prefix="ingest-grpc-control")
        self._health = health.HealthServicer(experimental_thread_pool=self._control)
        self._server = grpc.server(
            self._exports, handlers=[self, self._health_handler()], options=_options(settings)
        )  # fmt: skip

    def start(self) -> int:
        """Bind and serve; returns the port.

        Raises:
            ConfigurationError: the address cannot be bound.
        """
        host = self._settings.grpc_host
        address = f"[{host}]:{self._settings.grpc_port}" if ":" in host else f"{host}:{self._settings.grpc_port}"
        try:
            port = int(self._server.add_insecure_port(address))
        except RuntimeError as error:
            raise ConfigurationError(
                f"ingest.grpc_port: must be a free port of this machine; got {address}: {error}"
            ) from error
        self._server.start()
        self._bodies.start()
        for service in ("", *_SERVICES):
            self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return port

    def begin_stop(self, grace_s: float) -> threading.Event:
        """Take no new calls; the event is set when those under way have ended, which `grace_s` bounds."""
        self._health.enter_graceful_shutdown()
        stopped: threading.Event = self._server.stop(grace_s)
        return stopped

    def close(self) -> None:
        """Release the threads. Only after the event of `begin_stop`."""
        self._bodies.stop()
        self._exports.shutdown(wait=False)
        self._control.shutdown(wait=False)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """grpcio asks here, on its one serving thread, who takes a call. Nothing may block."""
        signal = self._methods.get(details.method)
        if signal is None:
            return None
        values = [
            value if isinstance(value, str) else value.decode("latin-1")
            for key, value in details.invocation_metadata or ()
            if key == self._settings.tenant_header
        ]
        try:
            tenant = self._tenants.named(values)
            self._admission.expect(signal, tenant)
        except SluicewayError as error:
            refuse = partial(self._refuse, signal, error)
            return grpc.stream_unary_rpc_method_handler(_On(refuse, self._control))
        return grpc.stream_unary_rpc_method_handler(partial(self._export, signal, tenant))

    def _refuse(
        self, signal: Signal, error: Exception, _requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> bytes:
        self._abort(signal, error, context)
        return b""

    def _export(self, signal: Signal, tenant: str, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        failure: Exception
        try:
            peer = peer_of_call(context.peer())
            body = self._bodies.read(requests, context, peer, partial(self._tally.failed, signal, _TRANSPORT))
            with self._admission.enter(signal, tenant, peer, expected=True) as ticket:
                started = time.perf_counter()
                ticket.grow(len(body))
                if not self._checks[signal].acquire(timeout=self._settings.append_timeout_s):
                    raise LogUnavailableError(
                        f"log: took longer than append_timeout_s, {self._settings.append_timeout_s} s",
                        retry_after_s=self._settings.retry_after_s,
                    )
                try:
                    receipt = self._reception.receive(signal, _TRANSPORT, tenant, body, context.is_active, ticket.grow)
                finally:
                    self._checks[signal].release()
        except grpc.RpcError:
            # The client went away or sent more than the bound; the core has answered, there is nobody to tell.
            raise
        except Exception as error:  # noqa: BLE001 - every failure has a row in the table
            failure = error
        else:
            _duration.record(time.perf_counter() - started, {"signal": signal, "transport": _TRANSPORT})
            self._tally.answered(signal, _TRANSPORT, "partial" if receipt.rejected else "accepted")
            return encode_receipt(receipt, PROTOBUF)
        self._abort(signal, failure, context)
        return b""

    def _abort(self, signal: Signal, error: Exception, context: grpc.ServicerContext) -> None:
        answer = answer_to(error)
        self._tally.failed(signal, _TRANSPORT, error)
        context.set_trailing_metadata(grpc_trailers(error))
        context.abort(answer.grpc, message_of(error))

    def _health_handler(self) -> grpc.GenericRpcHandler:
        response = health_pb2.HealthCheckResponse.SerializeToString
        return grpc.method_handlers_generic_handler(
            health.SERVICE_NAME,
            {
                "Check": grpc.stream_unary_rpc_method_handler(self._check_health, None, response),
                "Watch": grpc.stream_stream_rpc_method_handler(_Watch(self._bodies, self._health), None, response),
            },
        )

    def _check_health(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Any:
        return self._health.Check(_health_request(self._bodies, requests, context), context)


class _Watch:
    """grpcio runs it on a thread until the request is there, and none after."""

    experimental_non_blocking = True

    def __init__(self, bodies: GrpcBodies, servicer: health.HealthServicer) -> None:
        self._bodies = bodies
        self._servicer = servicer

    def __call__(self, requests: Iterator[bytes], context: grpc.ServicerContext, send: Callable[[Any], None]) -> None:
        self._servicer.Watch(_health_request(self._bodies, requests, context), context, send)


def _health_request(
    bodies: GrpcBodies, requests: Iterator[bytes], context: grpc.ServicerContext
) -> health_pb2.HealthCheckRequest:
    try:
        return health_pb2.HealthCheckRequest.FromString(bodies.read(requests, context, peer_of_call(context.peer())))
    except (DecodeError, MalformedRequestError):
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "request: must be a grpc.health.v1.HealthCheckRequest")
        raise


def _options(settings: IngestSettings) -> list[tuple[str, int]]:
    return [
        # The core bounds by this both what travels and what it decompresses to.
        ("grpc.max_receive_message_length", settings.max_decompressed_bytes),
        # Above what we admit, so that a client hears a refusal with its hint instead of waiting on its own side.
        ("grpc.max_concurrent_streams", settings.max_concurrent_requests + _REFUSABLE_STREAMS),
        # Two pipelines on one port would each get a part of the calls.
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        # Exporters behind load balancers ping more often than the core's default of five minutes tolerates.
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        # Who connects and is silent, or speaks another protocol.
        ("grpc.server_handshake_timeout_ms", int(settings.header_timeout_s * 1000)),
        ("grpc.http2.settings_timeout", int(settings.header_timeout_s * 1000)),
        ("grpc.max_allowed_incoming_connections", settings.grpc_max_connections),
        ("grpc.max_connection_idle_ms", int(settings.idle_timeout_s * 1000)),
        ("grpc.max_connection_age_ms", int(settings.grpc_max_age_s * 1000)),
        ("grpc.max_connection_age_grace_ms", int((settings.body_timeout_s + settings.append_timeout_s) * 1000)),
    ]
