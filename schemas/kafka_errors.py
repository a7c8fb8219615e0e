"""Errors of Kafka clients and brokers by class name: what is wrong, and when to try again.

All of them are retryable: time, a new client or a person mends them, while the bytes are good. Taken for permanent they
would turn telemetry into dead letters during an outage. The exception, a record too large, is told apart where it is
appended. (The client's own flag `retriable` answers another question: whether it may repeat a request by itself.) The
names are those of kafka-python's `kafka.errors`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from schemas.errors import LogUnavailableError

Row = TypeVar("Row")

MENDED_BY_A_PERSON: dict[str, str] = {
    "InvalidRecordError": "the broker refuses the record: no key on a compacted topic, or a time not allowed",
    "InvalidTimestampError": "the record's time is further from the broker's than the topic allows",
    "OffsetMetadataTooLargeError": "the metadata of a commit is over offset.metadata.max.bytes",
    "InvalidTopicError": "the topic's name is not one",
    "UnsupportedForMessageFormatError": "the topic's message format is too old for headers",
    "UnsupportedCompressionTypeError": "the topic does not take this codec",
    "UnsupportedCodecError": "this client cannot read or write the codec",
    "IllegalArgumentError": "a value of ours that the client refuses",
    "KafkaConfigurationError": "a setting of ours that the client refuses",
    "UnsupportedVersionError": "the broker is too old for this call",
    "IncompatibleBrokerVersion": "the broker is too old for this call",
    "UnrecognizedBrokerVersion": "the broker is of no version that the client knows",
    "InvalidConfigurationError": "a topic setting of ours that the broker refuses",
    "InvalidPartitionsError": "a number of partitions that the broker refuses",
    "InvalidRequiredAcksError": "a setting of acks that the broker refuses",
    "InvalidGroupIdError": "the group's name is not one",
}
"""A person must act; the text says on what. Asked again every `RETRY_PERSON_S`."""

RETRY_PERSON_S = 10.0

RETRY_AFTER_S: dict[str, float] = {
    "AuthorizationError": 10.0,
    "ClusterAuthorizationFailedError": 10.0,
    "GroupAuthorizationFailedError": 10.0,
    "TopicAuthorizationFailedError": 10.0,
    "TransactionalIdAuthorizationFailedError": 10.0,
    "SaslAuthenticationFailedError": 10.0,
    "UnsupportedSaslMechanismError": 10.0,
    "IllegalSaslStateError": 10.0,
    "UnknownTopicOrPartitionError": 5.0,
    "KafkaStorageError": 5.0,
    "NotEnoughReplicasError": 2.0,
    "NotEnoughReplicasAfterAppendError": 2.0,
    "ThrottlingQuotaExceededError": 2.0,
    "QuotaViolationError": 2.0,
    "BrokerNotAvailableError": 2.0,
    "KafkaConnectionError": 2.0,
    "LeaderNotAvailableError": 1.0,
    "NotLeaderForPartitionError": 1.0,
    "CoordinatorLoadInProgressError": 1.0,
    "CoordinatorNotAvailableError": 1.0,
    "NotCoordinatorError": 1.0,
    "KafkaTimeoutError": 1.0,
    "RequestTimedOutError": 1.0,
}
"""What time or a person mends, and when to look again, seconds; 1 s for every name that is in no table here."""


def unavailable(error: BaseException, what: str = "") -> LogUnavailableError:
    """What to raise for an error of the client: `what` failed, why, what a person must do, and when to try again."""
    said = ": ".join(part for part in ("kafka", what, type(error).__name__, str(error)) if part)
    meaning = _of_class(MENDED_BY_A_PERSON, error)
    if meaning is not None:
        return LogUnavailableError(f"{said} ({meaning})", retry_after_s=RETRY_PERSON_S)
    return LogUnavailableError(said, retry_after_s=_of_class(RETRY_AFTER_S, error) or 1.0)


def _of_class(table: Mapping[str, Row], error: BaseException) -> Row | None:
    """The row of the error's class, or of the nearest of its bases that has one."""
    return next((table[base.__name__] for base in type(error).__mro__ if base.__name__ in table), None)
