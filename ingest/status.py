"""The one table from our errors to what a client sees: gRPC status, HTTP code, whether to retry, and when.

OTLP lets a client retry HTTP 429, 502, 503 and 504, and the gRPC codes UNAVAILABLE and, only with RetryInfo,
RESOURCE_EXHAUSTED. So no permanent error is given one of those codes, and INTERNAL and 500 are left to our own faults.
Source: OTLP specification 1.9, "Failures" and "Throttling".
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import grpc
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from schemas.errors import (
    ConfigurationError,
    FencedError,
    LogUnavailableError,
    MalformedRequestError,
    OverloadedError,
    PartitionLostError,
    PermanentError,
    RecordsUnavailableError,
    RetryableError,
    SluicewayError,
    StoreUnavailableError,
    TenantDeniedError,
    TooLargeError,
    UnsupportedMediaError,
)

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
# gRPC carries the message twice in trailers that peers bound to 8 KiB.
_MAX_MESSAGE_CHARACTERS = 512
_FALLBACK_RETRY_AFTER_S = 1.0
_STATUS_DETAILS = "grpc-status-details-bin"
_RETRY_INFO = "google.rpc.retryinfo-bin"


@dataclass(frozen=True, slots=True)
class Answer:
    """How one class of error is told to a client. `outcome` is its label in our own metrics."""

    grpc: grpc.StatusCode
    http: int
    retryable: bool
    outcome: str


TABLE: dict[type[SluicewayError], Answer] = {
    MalformedRequestError: Answer(grpc.StatusCode.INVALID_ARGUMENT, 400, False, "malformed"),
    UnsupportedMediaError: Answer(grpc.StatusCode.INVALID_ARGUMENT, 415, False, "unsupported"),
    TooLargeError: Answer(grpc.StatusCode.INVALID_ARGUMENT, 413, False, "too_large"),
    TenantDeniedError: Answer(grpc.StatusCode.PERMISSION_DENIED, 403, False, "denied"),
    ConfigurationError: Answer(grpc.StatusCode.INTERNAL, 500, False, "failed"),
    PermanentError: Answer(grpc.StatusCode.INVALID_ARGUMENT, 400, False, "malformed"),
    OverloadedError: Answer(grpc.StatusCode.RESOURCE_EXHAUSTED, 429, True, "refused"),
    LogUnavailableError: Answer(grpc.StatusCode.UNAVAILABLE, 503, True, "refused"),
    StoreUnavailableError: Answer(grpc.StatusCode.UNAVAILABLE, 503, True, "refused"),
    RecordsUnavailableError: Answer(grpc.StatusCode.UNAVAILABLE, 503, True, "refused"),
    RetryableError: Answer(grpc.StatusCode.UNAVAILABLE, 503, True, "refused"),
    FencedError: Answer(grpc.StatusCode.UNAVAILABLE, 503, True, "refused"),
    PartitionLostError: Answer(grpc.StatusCode.UNAVAILABLE, 503, True, "refused"),
    SluicewayError: Answer(grpc.StatusCode.INTERNAL, 500, False, "failed"),
}
# A fault of ours that the same bytes will meet again: a retry would only repeat it.
OUR_FAULT = TABLE[SluicewayError]


def answer_to(error: BaseException) -> Answer:
    """The row for an error: its own class, else its nearest base. Running out of memory is load, not a fault."""
    if isinstance(error, MemoryError):
        return TABLE[OverloadedError]
    return next((TABLE[base] for base in type(error).__mro__ if base in TABLE), OUR_FAULT)


def retry_after_s(error: BaseException) -> float | None:
    """Seconds after which to retry; None when a retry cannot help."""
    if not answer_to(error).retryable:
        return None
    return error.retry_after_s if isinstance(error, RetryableError) else _FALLBACK_RETRY_AFTER_S


def message_of(error: BaseException) -> str:
    """What the client reads. An unforeseen exception's own text stays in our log."""
    text = str(error) if isinstance(error, SluicewayError) else "internal error"
    return text if len(text) <= _MAX_MESSAGE_CHARACTERS else text[: _MAX_MESSAGE_CHARACTERS - 1] + "…"


def rpc_status(error: BaseException) -> status_pb2.Status:
    """The error as `google.rpc.Status`, with RetryInfo when it is retryable."""
    answer = answer_to(error)
    status = status_pb2.Status(code=answer.grpc.value[0], message=message_of(error))
    hint = _retry_info(error)
    if hint is not None:
        status.details.add().Pack(hint)
    return status


def grpc_trailers(error: BaseException) -> tuple[tuple[str, bytes], ...]:
    """The trailing metadata of a failed call: the status with its details, and the retry hint once more by itself.

    The specification places the hint inside the status; OpenTelemetry's Python exporter looks for it beside only.
    """
    trailers = ((_STATUS_DETAILS, rpc_status(error).SerializeToString()),)
    hint = _retry_info(error)
    return trailers if hint is None else (*trailers, (_RETRY_INFO, hint.SerializeToString()))


def _retry_info(error: BaseException) -> error_details_pb2.RetryInfo | None:
    after_s = retry_after_s(error)
    if after_s is None:
        return None
    hint = error_details_pb2.RetryInfo()
    hint.retry_delay.FromNanoseconds(int(after_s * 1e9))
    return hint


def encode_status(status: status_pb2.Status, media: str) -> bytes:
    """A body for `media`: protobuf for protobuf, JSON for everything else, since a person may read it."""
    if media == PROTOBUF:
        encoded: bytes = status.SerializeToString()
        return encoded
    text: str = json_format.MessageToJson(status, indent=None)
    return text.encode()


def retry_after_header(error: BaseException) -> str | None:
    """The value of Retry-After, in whole seconds and at least 1 (RFC 9110, 10.2.3); None when a retry cannot help."""
    after_s = retry_after_s(error)
    return None if after_s is None else str(max(1, math.ceil(after_s)))
