"""Errors of Kafka clients and brokers by class name: whether the same call may succeed later, and when to try it.

The client's own flag `retriable` answers another question: whether it may repeat a request by itself at once. It is
false for a wrong password, a fenced producer or a quota, which a person, a new producer or time mends, while the bytes
are good: taken for permanent they would turn telemetry into dead letters during an outage. So only what names the
bytes, the request or our code is permanent here; everything else, unknown names included, is retryable. The names are
those of kafka-python's `kafka.errors`.
"""

from __future__ import annotations

PERMANENT: dict[str, str] = {
    "MessageSizeTooLargeError": "the record is over the broker's or the topic's max.message.bytes",
    "RecordListTooLargeError": "the batch is over the broker's segment size",
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
"""Trying the same again cannot help; the text says what is wrong."""

FENCED: frozenset[str] = frozenset(
    {
        "CommitFailedError",
        "FencedInstanceIdError",
        "FencedMemberEpochError",
        "IllegalGenerationError",
        "RebalanceInProgressError",
        "StaleMemberEpochError",
        "UnknownMemberIdError",
    }
)
"""Another member owns the partition, or will: write nothing more for it; the new owner repeats the frozen batch."""

NEW_PRODUCER: frozenset[str] = frozenset(
    {
        "InvalidProducerEpochError",
        "InvalidProducerIdMappingError",
        "OutOfOrderSequenceNumberError",
        "ProducerFencedError",
        "UnknownProducerIdError",
    }
)
"""The idempotent producer has lost its place: it is replaced by a new one, and the client sends again."""

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

UNKNOWN_OUTCOME: frozenset[str] = frozenset(
    {
        "KafkaConnectionError",
        "KafkaTimeoutError",
        "NetworkExceptionError",
        "NotEnoughReplicasAfterAppendError",
        "RequestTimedOutError",
    }
)
"""The broker may have kept what was sent: it is not acknowledged, and a client that sends again may be stored twice."""


def is_permanent(error: BaseException) -> bool:
    """Whether the same call would fail for ever: by the error's class or one of its bases."""
    return any(base.__name__ in PERMANENT for base in type(error).__mro__)


def is_fenced(error: BaseException) -> bool:
    """Whether this worker no longer owns what it wrote for."""
    return any(base.__name__ in FENCED for base in type(error).__mro__)


def retry_after_s(error: BaseException) -> float:
    """When to try again, seconds; of no meaning for a permanent error."""
    return next((RETRY_AFTER_S[base.__name__] for base in type(error).__mro__ if base.__name__ in RETRY_AFTER_S), 1.0)
