"""Every error that we raise has one answer, and that answer tells an OTLP client the truth about retrying."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from ingest import status
from schemas.errors import OverloadedError, PermanentError, RetryableError, SluicewayError, TooLargeError

# OTLP specification 1.9: what a client may retry. RESOURCE_EXHAUSTED only with RetryInfo.
RETRYABLE_HTTP = {429, 502, 503, 504}
RETRYABLE_GRPC = {
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DATA_LOSS,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def _all(base: type[SluicewayError]) -> Iterator[type[SluicewayError]]:
    yield base
    for child in base.__subclasses__():
        if child.__module__ == "schemas.errors":
            yield from _all(child)


EVERY = sorted(set(_all(SluicewayError)), key=lambda error: error.__name__)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_every_error_class_has_a_row_of_its_own(kind: type[SluicewayError]) -> None:
    assert kind in status.TABLE


def test_the_table_names_no_class_that_does_not_exist() -> None:
    assert set(status.TABLE) == set(EVERY)


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_otlp_clients_read_the_same_about_retrying_from_code_and_status(kind: type[SluicewayError]) -> None:
    answer = status.TABLE[kind]
    assert (answer.http in RETRYABLE_HTTP) == answer.retryable
    assert (answer.grpc in RETRYABLE_GRPC) == answer.retryable


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_retryable_errors_are_retryable_and_permanent_ones_are_not(kind: type[SluicewayError]) -> None:
    if issubclass(kind, RetryableError):
        assert status.TABLE[kind].retryable
    if issubclass(kind, PermanentError):
        assert not status.TABLE[kind].retryable


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: kind.__name__)
def test_a_hint_travels_with_every_retryable_error_and_with_no_other(kind: type[SluicewayError]) -> None:
    error = kind("log: full", retry_after_s=2.5) if issubclass(kind, RetryableError) else kind("bound: 1")
    encoded = status_pb2.Status.FromString(status.encode_status(status.rpc_status(error), status.PROTOBUF))
    assert encoded.message == str(error)
    assert encoded.code == status.TABLE[kind].grpc.value[0]
    hints = [detail for detail in encoded.details if detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR)]
    assert bool(hints) == status.TABLE[kind].retryable
    assert (status.retry_after_header(error) is not None) == status.TABLE[kind].retryable


@pytest.mark.parametrize(("after_s", "header"), [(0.01, "1"), (1.0, "1"), (1.2, "2"), (30.0, "30")])
def test_retry_after_is_whole_seconds_rounded_up(after_s: float, header: str) -> None:
    assert status.retry_after_header(OverloadedError("bytes", retry_after_s=after_s)) == header


def test_a_subclass_without_a_row_takes_its_nearest_base() -> None:
    class NarrowerError(TooLargeError):
        pass

    assert status.answer_to(NarrowerError("x")) is status.TABLE[TooLargeError]


def test_an_unforeseen_exception_is_our_fault_and_its_text_stays_inside() -> None:
    error = KeyError("secret")
    assert status.answer_to(error).http == 500
    assert status.rpc_status(error).message == "internal error"


def test_running_out_of_memory_is_load() -> None:
    assert status.answer_to(MemoryError()).http == 429


def test_json_says_the_same_as_protobuf() -> None:
    encoded = status.encode_status(status.rpc_status(OverloadedError("bytes: 1", retry_after_s=1.5)), status.JSON)
    assert encoded == (
        b'{"code": 8, "message": "bytes: 1", "details": '
        b'[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.500s"}]}'
    )


def test_a_long_message_is_cut_so_that_peers_can_read_the_trailers() -> None:
    assert len(status.message_of(TooLargeError("x" * 100_000))) == 512


def test_the_documentation_holds_the_table() -> None:
    lines = [
        f"| `{kind.__name__}` | {answer.grpc.name} | {answer.http} | {'yes' if answer.retryable else 'no'} |"
        for kind, answer in status.TABLE.items()
    ]
    text = (Path(__file__).parents[2] / "docs" / "receivers.md").read_text()
    assert [line for line in lines if line not in text] == []
    assert text.count("Error` |") == len(lines)
