"""The way to the store: one ClickHouse HTTP client, near or far, and whether its errors are worth another try.

Only an error that names the bytes or the statement is permanent. Everything else, unknown codes included, is
retryable: a batch must not become dead letters because a store was full, restarting or wrongly configured for an hour.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError, ProgrammingError
from urllib3.exceptions import HTTPError

from schemas import store_error
from schemas.errors import ConfigurationError, PermanentError, StoreUnavailableError

# ClickHouse's src/Common/ErrorCodes.cpp. The names are part of its error messages and stay the same across versions.
PERMANENT_CODES: dict[int, str] = {
    6: "CANNOT_PARSE_TEXT",
    7: "INCORRECT_NUMBER_OF_COLUMNS",
    10: "NOT_FOUND_COLUMN_IN_BLOCK",
    16: "NO_SUCH_COLUMN_IN_TABLE",
    20: "NUMBER_OF_COLUMNS_DOESNT_MATCH",
    26: "CANNOT_PARSE_QUOTED_STRING",
    27: "CANNOT_PARSE_INPUT_ASSERTION_FAILED",
    32: "ATTEMPT_TO_READ_AFTER_EOF",
    33: "CANNOT_READ_ALL_DATA",
    36: "BAD_ARGUMENTS",
    38: "CANNOT_PARSE_DATE",
    41: "CANNOT_PARSE_DATETIME",
    42: "NUMBER_OF_ARGUMENTS_DOESNT_MATCH",
    43: "ILLEGAL_TYPE_OF_ARGUMENT",
    44: "ILLEGAL_COLUMN",
    47: "UNKNOWN_IDENTIFIER",
    50: "UNKNOWN_TYPE",
    53: "TYPE_MISMATCH",
    62: "SYNTAX_ERROR",
    69: "ARGUMENT_OUT_OF_BOUND",
    70: "CANNOT_CONVERT_TYPE",
    72: "CANNOT_PARSE_NUMBER",
    117: "INCORRECT_DATA",
    128: "TOO_LARGE_ARRAY_SIZE",
    131: "TOO_LARGE_STRING_SIZE",
    190: "SIZES_OF_ARRAYS_DONT_MATCH",
    349: "CANNOT_INSERT_NULL_IN_ORDINARY_COLUMN",
}

# Overload passes by itself within seconds; a missing right or table waits for a person.
RETRY_AFTER_S: dict[int, float] = {
    202: 0.5,  # TOO_MANY_SIMULTANEOUS_QUERIES
    241: 2.0,  # MEMORY_LIMIT_EXCEEDED
    252: 2.0,  # TOO_MANY_PARTS
    243: 10.0,  # NOT_ENOUGH_SPACE
    164: 10.0,  # READONLY
    497: 10.0,  # ACCESS_DENIED
    516: 10.0,  # AUTHENTICATION_FAILED
    60: 10.0,  # UNKNOWN_TABLE
    81: 10.0,  # UNKNOWN_DATABASE
}


def connect(
    url: str,
    *,
    user: str = "default",
    password: str = "",
    database: str | None = "otel",
    connect_timeout_s: int = 5,
    answer_timeout_s: int = 120,
    ca_file: Path | None = None,
    read_only: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Client:
    """Open a client; it asks the store for version and settings once, here, and may then be shared by threads.

    Args:
        url: `http://host:port` or `https://host:port`.
        database: where unqualified names are looked up; None for the user's own, which always exists.
        connect_timeout_s: how long a connection may take, seconds.
        answer_timeout_s: how long the store may be silent within a request, seconds.
        ca_file: certificates (PEM) that an https server's must come from; None means the system's.
        read_only: ask the store to refuse every write and every change of what it allows, whoever the user is. A
            user whose profile says `readonly` = 1 needs no asking, and may set what that profile lets it.
        headers: fields that every request carries.

    Raises:
        StoreUnavailableError: nothing answers, or it refuses us for now.
        ConfigurationError: `url` is not an HTTP URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"store url: must be http://host:port or https://host:port, received {url!r}")

    def opened(settings: dict[str, Any] | None) -> Client:
        return clickhouse_connect.get_client(
            interface=parts.scheme,
            host=parts.hostname,
            port=parts.port or (8443 if parts.scheme == "https" else 8123),
            username=user,
            password=password,
            database=database,
            settings=settings,
            headers=dict(headers or {}),
            ca_cert=str(ca_file) if ca_file else None,
            tz_mode="aware",
            # A session would serialise our threads' inserts.
            autogenerate_session_id=False,
            connect_timeout=connect_timeout_s,
            send_receive_timeout=answer_timeout_s,
            # Connections that outlive their client would hold up the end of the store by seconds.
            dedicated_pool=True,
            # Retries are the writer's, with the frozen batch and its tokens.
            query_retries=0,
        )

    with store_errors():
        if not read_only:
            return opened(None)
        try:
            # 2 and not 1: a query may still set its own bounds.
            return opened({"readonly": 2})
        except ProgrammingError:
            # The user's profile says 1, which is stricter and cannot be changed.
            client = opened(None)
        bound = client.server_settings.get("max_execution_time")
        if bound is not None and bound.readonly:
            client.close()
            raise StoreUnavailableError(
                f"store: {user} has readonly = 1 and may not set max_execution_time, which every question needs; "
                "mark it `changeable_in_readonly` in the constraints of its profile",
                retry_after_s=10.0,
            )
        return client


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn what the driver raises inside into our errors.

    Raises:
        StoreUnavailableError: away, restarting, overloaded, read-only, refusing us: the same bytes may succeed later.
        PermanentError: the store understood the request and its bytes or statement are wrong.
    """
    try:
        yield
    except (ClickHouseError, HTTPError, OSError) as error:
        code = getattr(error, "code", None)
        text = store_error.refusal(str(error)) or store_error.without_origin(str(error))
        if code in PERMANENT_CODES:
            raise PermanentError(f"store: {PERMANENT_CODES[code]}: {text}") from error
        raise StoreUnavailableError(f"store: {text}", retry_after_s=RETRY_AFTER_S.get(code or 0, 1.0)) from error
