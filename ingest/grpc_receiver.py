"""OTLP over gRPC: the three Export services on raw bytes, and grpc.health.v1. Nothing is deserialized here.

The methods are served as stream-unary, which is the same on the wire as unary: so our code runs before the body is
read, which lets us refuse unread what is over a bound, and bound how long a body may take.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2

from ingest.admission import Admission, Ticket
from ingest.receive import Reception, encode_receipt
from ingest.settings import IngestSettings
from ingest.status import PROTOBUF, answer_to, grpc_trailers, message_of
from ingest.tally import Tally
from schemas.errors import ConfigurationError, MalformedRequestError, SluicewayError
from schemas.signals import NAMES, Signal
from schemas.telemetry import histogram

_TRANSPORT = "grpc"
_duration = histogram("sluiceway_ingest_request_duration_seconds")
_REFUSABLE_STREAMS = 1024
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
        """`signals_apart` gives each signal threads of its own: one whose topic stalls then holds none of another."""
        self._reception = reception
        self._admission = admission
        self._tally = tally
        self._settings = settings
        self._methods = {f"/{names.grpc_service}/Export": signal for signal, names in NAMES.items()}
        self._slow_bodies = _BodyDeadlines(settings.body_timeout_s)
        self._exports = ThreadPoolExecutor(settings.grpc_threads, thread_name_prefix="ingest-grpc")
        self._pools = {
            signal: ThreadPoolExecutor(settings.grpc_threads, thread_name_prefix=f"ingest-grpc-{signal}")
            if signals_apart
            else self._exports
            for signal in Signal
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
        self._slow_bodies.start()
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
        self._slow_bodies.stop()
        for pool in (self._exports, *self._pools.values()):
            pool.shutdown(wait=False)
        self._control.shutdown(wait=False)

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """grpcio asks here, on its one serving thread, who takes a call. Nothing may block."""
        signal = self._methods.get(details.method)
        if signal is None:
            return None
        tenant = self._tenant(details.invocation_metadata)
        try:
            ticket = self._admission.enter(signal, tenant)
        except SluicewayError as error:
            refuse = partial(self._refuse, signal, error)
            return grpc.stream_unary_rpc_method_handler(_On(refuse, self._control))
        export = partial(self._export, signal, tenant, ticket)
        return grpc.stream_unary_rpc_method_handler(_On(export, self._pools[signal]))

    def _refuse(
        self, signal: Signal, error: Exception, _requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> bytes:
        self._abort(signal, error, context)
        return b""

    def _export(
        self, signal: Signal, tenant: str, ticket: Ticket, requests: Iterator[bytes], context: grpc.ServicerContext
    ) -> bytes:
        failure: Exception
        try:
            with ticket:
                body = self._slow_bodies.read(requests, context)
                started = time.perf_counter()
                ticket.grow(len(body))
                receipt = self._reception.receive(signal, _TRANSPORT, tenant, body, context.is_active, ticket.grow)
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

    def _tenant(self, metadata: Iterable[tuple[str, str | bytes]] | None) -> str:
        for key, value in metadata or ():
            if key == self._settings.tenant_header:
                return value if isinstance(value, str) else value.decode("latin-1")
        return ""

    def _abort(self, signal: Signal, error: Exception, context: grpc.ServicerContext) -> None:
        answer = answer_to(error)
        self._tally.failed(signal, _TRANSPORT, error)
        context.set_trailing_metadata(grpc_trailers(error))
        context.abort(answer.grpc, message_of(error))

    def _health_handler(self) -> grpc.GenericRpcHandler:
        request, response = health_pb2.HealthCheckRequest, health_pb2.HealthCheckResponse
        return grpc.method_handlers_generic_handler(
            health.SERVICE_NAME,
            {
                "Check": grpc.unary_unary_rpc_method_handler(
                    _On(self._health.Check, self._control), request.FromString, response.SerializeToString
                ),
                "Watch": grpc.unary_stream_rpc_method_handler(
                    self._health.Watch, request.FromString, response.SerializeToString
                ),
            },
        )


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
    ]


class _BodyDeadlines:
    """Cancels calls whose body does not arrive in time; one thread looks once a second, calls cost a dict entry."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._reading: dict[int, tuple[float, grpc.ServicerContext]] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ingest-grpc-deadlines", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def read(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        """The one message of a call.

        Raises:
            grpc.RpcError: the call was cancelled, by the client, by the core or by us.
            MalformedRequestError: the client sent no message.
        """
        key = id(context)
        self._reading[key] = (time.monotonic() + self._timeout_s, context)
        try:
            return next(requests)
        except StopIteration:
            raise MalformedRequestError("request: must be exactly one message; got none") from None
        finally:
            del self._reading[key]

    def _run(self) -> None:
        while not self._stopping.wait(min(1.0, self._timeout_s / 4)):
            now = time.monotonic()
            for deadline, context in list(self._reading.values()):
                if now > deadline:
                    context.cancel()
