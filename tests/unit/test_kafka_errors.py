"""The table of Kafka's errors, held to the client's own classes: all are retryable, and say what a person must do."""

from __future__ import annotations

import inspect

import pytest
from kafka import errors

from schemas.errors import RetryableError
from schemas.kafka_errors import MENDED_BY_A_PERSON, RETRY_AFTER_S, RETRY_PERSON_S, unavailable

EVERY = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}


def test_every_name_of_a_table_is_a_class_of_the_client_and_in_one_table_only() -> None:
    assert (MENDED_BY_A_PERSON.keys() | RETRY_AFTER_S.keys()) - EVERY.keys() == set()
    assert MENDED_BY_A_PERSON.keys() & RETRY_AFTER_S.keys() == set()


@pytest.mark.parametrize("name", sorted(name for name, kind in EVERY.items() if getattr(kind, "retriable", False)))
def test_what_the_client_itself_may_repeat_needs_no_person(name: str) -> None:
    assert name not in MENDED_BY_A_PERSON


@pytest.mark.parametrize("name", ["SaslAuthenticationFailedError", "KafkaTimeoutError", "UnknownError"])
def test_what_failed_and_why_is_said_with_the_time_to_try_again(name: str) -> None:
    error = unavailable(EVERY[name]("as the broker says"), "spans: fetch")

    assert isinstance(error, RetryableError)
    assert str(error).startswith(f"kafka: spans: fetch: {name}: ")
    assert "as the broker says" in str(error)
    assert error.retry_after_s == RETRY_AFTER_S.get(name, 1.0)


def test_what_a_person_must_mend_is_said_and_asked_for_less_often() -> None:
    error = unavailable(errors.UnsupportedCompressionTypeError())

    assert str(error).endswith("(the topic does not take this codec)")
    assert error.retry_after_s == RETRY_PERSON_S


def test_a_class_without_a_row_takes_that_of_its_base() -> None:
    class NarrowerError(errors.TopicAuthorizationFailedError):  # type: ignore[misc, unused-ignore]
        pass

    assert unavailable(NarrowerError()).retry_after_s == RETRY_AFTER_S["TopicAuthorizationFailedError"]
