"""How commands reach the store: over HTTP as the read-only user, with errors a person can act on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import StoreUnavailableError
from schemas.settings import StoreSettings

# It logs what it also raises; a person is told once, in our words.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())


@contextmanager
def reader(settings: StoreSettings, *, connect_timeout_s: float = 5) -> Iterator[Client]:
    """A connection as `default`, closed on leaving; errors inside come out as StoreUnavailableError.

    Raises:
        StoreUnavailableError: no answer, or ClickHouse's own error.
    """
    where = f"{settings.host}:{settings.http_port}"
    try:
        client = clickhouse_connect.get_client(
            host=settings.host,
            port=settings.http_port,
            username="default",
            database=settings.database,
            autogenerate_session_id=False,
            connect_timeout=connect_timeout_s,
            send_receive_timeout=settings.reader_max_execution_s + 10,
            query_retries=0,
        )
        try:
            yield client
        finally:
            client.close()
    except (ClickHouseError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise StoreUnavailableError(explain(error, where)) from error


def explain(error: Exception, where: str) -> str:
    """One line: ClickHouse's own words where it answered, what to do where nothing did."""
    text = " ".join(str(error).split())
    if getattr(error, "code", None) or "Code:" in text:
        start = text.find("Code:")
        return f"store: {text[max(start, 0) :][:600]}"
    return f"store: nothing answers at {where}; start it with `sluiceway up`"
