"""The exceptions that cross package borders, and whether trying again can help.

SluicewayError
├── PermanentError              the same bytes will fail again
│   ├── MalformedRequestError       a client's bytes are not OTLP (names offset and rule)
│   ├── UnsupportedMediaError       a content type or encoding that we do not read
│   ├── TooLargeError               over a bound on bytes or depth
│   ├── TenantDeniedError           a tenant that is not on the list
│   └── ConfigurationError          a setting is wrong (names field, rule, value)
└── RetryableError              the same bytes may succeed later; carries retry_after_s
    ├── OverloadedError             a bound on concurrency, bytes in flight or rate
    ├── LogUnavailableError         the log cannot take or give records now (disk full, read-only, broker away)
    ├── StoreUnavailableError       the store cannot take or give rows now
    └── RecordsUnavailableError     incident records cannot be read or written now
FencedError                     this worker no longer owns the partition: stop, write nothing more
└── PartitionLostError              only this partition: its consumer group gave it to another member
"""

from __future__ import annotations


class SluicewayError(Exception):
    """Base of every error that a user or an operator may see."""


class PermanentError(SluicewayError):
    """Retrying the same input cannot succeed."""


class MalformedRequestError(PermanentError):
    """Bytes that are not a well-formed OTLP message. The message names the byte offset and the broken rule."""


class UnsupportedMediaError(PermanentError):
    """A content type or content encoding outside the ones OTLP defines."""


class TooLargeError(PermanentError):
    """Input over a configured bound; the message names the bound."""


class TenantDeniedError(PermanentError):
    """A tenant outside `ingest.tenants`. The message names the header and the value received."""


class ConfigurationError(PermanentError):
    """A setting that is refused. The message names field, rule and value received."""


class RetryableError(SluicewayError):
    """Retrying later may succeed.

    Attributes:
        retry_after_s: when to try again, in seconds.
    """

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class OverloadedError(RetryableError):
    """We refuse work to stay within our bounds."""


class LogUnavailableError(RetryableError):
    """The log is full, read-only, locked or away."""


class StoreUnavailableError(RetryableError):
    """The store is away, restarting, overloaded or refuses us for now."""


class RecordsUnavailableError(RetryableError):
    """The file of incident records is missing, locked, damaged or on a full disk."""


class FencedError(SluicewayError):
    """Another worker owns this partition; nothing more may be written for it."""


class PartitionLostError(FencedError):
    """The consumer group moved this partition; the worker goes on with those that it still owns."""
