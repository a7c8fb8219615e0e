"""The table of Kafka's errors, held to the client's own classes: which are permanent, fenced, retryable."""

from __future__ import annotations

import inspect

import pytest
from kafka import errors

from schemas import kafka_errors

EVERY = {name: kind for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, Exception)}
TABLES = {
    "PERMANENT": set(kafka_errors.PERMANENT),
    "FENCED": set(kafka_errors.FENCED),
    "NEW_PRODUCER": set(kafka_errors.NEW_PRODUCER),
    "RETRY_AFTER_S": set(kafka_errors.RETRY_AFTER_S),
    "UNKNOWN_OUTCOME": set(kafka_errors.UNKNOWN_OUTCOME),
}


@pytest.mark.parametrize("table", TABLES)
def test_every_name_of_a_table_is_a_class_of_the_client(table: str) -> None:
    assert TABLES[table] - set(EVERY) == set()


def test_no_name_is_in_two_tables_that_contradict_each_other() -> None:
    exclusive = [TABLES[name] for name in ("PERMANENT", "FENCED", "NEW_PRODUCER", "RETRY_AFTER_S")]
    assert sum(map(len, exclusive)) == len(set.union(*exclusive))


@pytest.mark.parametrize("name", sorted(name for name, kind in EVERY.items() if getattr(kind, "retriable", False)))
def test_what_the_client_itself_may_repeat_is_never_permanent(name: str) -> None:
    assert not kafka_errors.is_permanent(EVERY[name]())


@pytest.mark.parametrize(
    "name",
    [
        "SaslAuthenticationFailedError",
        "TopicAuthorizationFailedError",
        "NotLeaderForPartitionError",
        "CoordinatorNotAvailableError",
        "KafkaTimeoutError",
        "RequestTimedOutError",
        "ThrottlingQuotaExceededError",
        "OutOfOrderSequenceNumberError",
        "UnknownError",
    ],
)
def test_what_time_or_a_person_mends_is_retryable(name: str) -> None:
    error = EVERY[name]()
    assert not kafka_errors.is_permanent(error)
    assert not kafka_errors.is_fenced(error)
    assert kafka_errors.retry_after_s(error) >= 1


@pytest.mark.parametrize("name", ["MessageSizeTooLargeError", "RecordListTooLargeError", "InvalidTopicError"])
def test_what_the_broker_will_never_take_is_permanent(name: str) -> None:
    assert kafka_errors.is_permanent(EVERY[name]())


@pytest.mark.parametrize("name", ["CommitFailedError", "IllegalGenerationError", "UnknownMemberIdError"])
def test_a_lost_partition_is_fenced_and_not_permanent(name: str) -> None:
    assert kafka_errors.is_fenced(EVERY[name]())
    assert not kafka_errors.is_permanent(EVERY[name]())


def test_a_class_without_a_row_takes_that_of_its_base() -> None:
    class NarrowerError(errors.TopicAuthorizationFailedError):  # type: ignore[misc, unused-ignore]
        pass

    assert kafka_errors.retry_after_s(NarrowerError()) == 10.0
    assert not kafka_errors.is_permanent(RuntimeError("of no table"))
