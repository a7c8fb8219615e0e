"""The one path behind both receivers: decompressed OTLP bytes in, checked, appended, a receipt out."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from ingest.append import Appender
from ingest.repeats import Attempt, Receipt, Repeats, digest_of
from ingest.settings import IngestSettings
from ingest.status import JSON
from ingest.tally import Tally
from ingest.throttle import Throttle
from ingest.validate import validate
from schemas.errors import LogUnavailableError, MalformedRequestError
from schemas.settings import RetentionSettings
from schemas.signals import Signal

# Clients wait longer than this: until then nobody has to be told from one who repeats himself, seconds.
SOON_S = 1.0
_DAY_NS = 86400 * 10**9
_TENANT = re.compile(r"[A-Za-z0-9._-]{0,128}")


__all__ = ["Pending", "Receipt", "Reception", "encode_receipt"]


@dataclass(slots=True)
class Pending:
    """A checked request on its way into the log; the receipt holds once `durable` has resolved.

    Attributes:
        body: as it was sent, decompressed; None for a request that holds nothing.
        attempt: what `Reception.watch` made of it.
    """

    receipt: Receipt
    durable: Future[None]
    tenant: str = ""
    body: bytes | None = None
    attempt: Attempt | None = None


class Reception:
    """Checks requests and hands them to the appender. Safe from any thread."""

    def __init__(
        self,
        appender: Appender,
        settings: IngestSettings,
        retention: RetentionSettings,
        tally: Tally,
        throttle: Throttle | None = None,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._appender = appender
        self._append_timeout_s = settings.append_timeout_s
        self._retry_after_s = settings.retry_after_s
        self._max_items = settings.max_request_items
        self._max_elements = settings.max_request_elements
        self._newest_after_ns = int(settings.max_future_s * 1e9)
        self._oldest_before_ns = {
            Signal.TRACES: retention.traces_days * _DAY_NS,
            Signal.METRICS: retention.metrics_days * _DAY_NS,
            Signal.LOGS: retention.logs_days * _DAY_NS,
        }
        self._tally = tally
        self._throttle = throttle
        self._clock_ns = clock_ns
        self._repeats = Repeats(settings.repeat_window_s, settings.repeats_remembered)

    def submit(
        self,
        signal: Signal,
        transport: str,
        tenant: str,
        body: bytes,
        charge: Callable[[int], None] = lambda _bytes: None,
    ) -> Pending:
        """Check `body`, an OTLP export request in protobuf, and queue what is good in it.

        The same bytes as of a request that may be in the log without its client knowing are not queued again: they wait
        for that one.

        Args:
            signal: which request `body` is.
            transport: how it came.
            tenant: whose it is.
            body: protobuf bytes.
            charge: told what memory the request takes beside its body, bytes, before it is taken.

        Raises:
            MalformedRequestError: not OTLP, or a tenant outside [A-Za-z0-9._-]{0,128}.
            TooLargeError: over a bound on items or elements, or one item alone is over the log's record bound.
            OverloadedError: the tenant is over its rate; or from `charge`.
            RetryableError: we are stopping.
        """
        if tenant and not _TENANT.fullmatch(tenant):
            raise MalformedRequestError(f"tenant: must match {_TENANT.pattern}; got {tenant[:200]!r}")
        account = None if self._throttle is None else self._throttle.admit(tenant, len(body))
        self._tally.read(signal, transport, len(body))
        repeated = self._repeats.claim(signal, tenant, body)
        if repeated is not None:
            self._tally.repeated(signal)
            return Pending(repeated.receipt, repeated.durable, tenant, body)
        now_ns = self._clock_ns()
        verdict = validate(
            signal,
            body,
            now_ns=now_ns,
            oldest_ns=max(now_ns - self._oldest_before_ns[signal], 0),
            newest_ns=now_ns + self._newest_after_ns,
            max_items=self._max_items,
            max_elements=self._max_elements,
            charge=charge,
        )
        if self._throttle is not None and account is not None:
            self._throttle.charge(account, verdict.items + verdict.rejected)
        receipt = Receipt(signal, verdict.items, verdict.rejected, verdict.reason if verdict.rejected else "")
        if verdict.items or verdict.rejected:
            durable = self._appender.submit(signal, tenant, verdict.body, verdict.items, verdict.rejected, charge)
            return Pending(receipt, durable, tenant, body)
        # A request without items holds nothing that could be lost, or doubled.
        durable = Future()
        durable.set_result(None)
        return Pending(receipt, durable)

    def receive(
        self,
        signal: Signal,
        transport: str,
        tenant: str,
        body: bytes,
        client_waits: Callable[[], bool] = lambda: True,
        charge: Callable[[int], None] = lambda _bytes: None,
    ) -> Receipt:
        """`submit`, then wait until the log holds it.

        Args:
            signal: which request `body` is.
            transport: how it came.
            tenant: whose it is.
            body: protobuf bytes.
            client_waits: whether there still is somebody to answer; asked from any thread.
            charge: see `submit`.

        Raises:
            LogUnavailableError: the log did not take it, or not in time.
        """
        pending = self.submit(signal, transport, tenant, body, charge)
        soon_s = min(SOON_S, self._append_timeout_s)
        try:
            try:
                pending.durable.result(soon_s)
            except TimeoutError:
                self.watch(pending, client_waits)
                pending.durable.result(self._append_timeout_s - soon_s)
        except TimeoutError as error:
            raise self.late(pending) from error
        except LogUnavailableError:
            self.settle(pending)
            raise
        self.acknowledge(pending, client_waits=client_waits)
        return pending.receipt

    def watch(self, pending: Pending, client_waits: Callable[[], bool]) -> None:
        """From now on, should its client go away without an answer, the same bytes wait for this append.

        For requests that take longer than `SOON_S`. Each is ended by one of `late`, `settle`, `acknowledge`.
        """
        pending.attempt = self._attempt(pending, client_waits)
        if pending.attempt is not None:
            self._repeats.remember(pending.attempt)

    def late(self, pending: Pending) -> LogUnavailableError:
        """Withdraw a request that the log did not take in time, where its commit has not begun; the error to answer.

        Where it has begun the same bytes, should they come again, wait for its end.
        """
        # A repetition that claimed it waits for this append: it is not ours any more.
        if self.settle(pending) and not pending.durable.cancel():
            self._remember(pending)
        return LogUnavailableError(
            f"log: took longer than append_timeout_s, {self._append_timeout_s} s", retry_after_s=self._retry_after_s
        )

    def settle(self, pending: Pending) -> bool:
        """Its client is answered; False when a repetition waits for this append in its place."""
        return pending.attempt is None or self._repeats.take_back(pending.attempt)

    def acknowledge(self, pending: Pending, *, client_waits: Callable[[], bool]) -> None:
        """Count what is being acknowledged; where nobody is there to hear it, let the same bytes hear it."""
        if not client_waits():
            if self.settle(pending):
                self._remember(pending)
            return
        self.settle(pending)
        receipt = pending.receipt
        self._tally.items(receipt.signal, receipt.accepted, receipt.rejected)

    def _attempt(self, pending: Pending, client_waits: Callable[[], bool]) -> Attempt | None:
        if pending.body is None:
            return None
        shape = pending.receipt.signal, pending.tenant, len(pending.body)
        return Attempt(shape, digest_of(pending.body), pending.receipt, pending.durable, client_waits)

    def _remember(self, pending: Pending) -> None:
        attempt = self._attempt(pending, client_waits=lambda: False)
        if attempt is not None:
            self._repeats.remember(attempt)


def encode_receipt(receipt: Receipt, media: str) -> bytes:
    """The body of a success: `Export*ServiceResponse`, whose `partial_success` is unset when nothing was rejected."""
    if not receipt.rejected:
        return b"{}" if media == JSON else b""
    response: ExportTraceServiceResponse | ExportMetricsServiceResponse | ExportLogsServiceResponse
    if receipt.signal is Signal.TRACES:
        response = ExportTraceServiceResponse()
        response.partial_success.rejected_spans = receipt.rejected
    elif receipt.signal is Signal.METRICS:
        response = ExportMetricsServiceResponse()
        response.partial_success.rejected_data_points = receipt.rejected
    else:
        response = ExportLogsServiceResponse()
        response.partial_success.rejected_log_records = receipt.rejected
    response.partial_success.error_message = receipt.message
    if media == JSON:
        return json_format.MessageToJson(response, indent=None).encode()
    return response.SerializeToString()
