"""What a measure asks of a store: are the rows there, are the merges over, then one last merge of everything."""

from __future__ import annotations

import time
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client

_POLL_S = 0.25
# Merges follow each other at once; what would still be chosen later is part of the final merge, which is counted too.
_QUIET_S = 2.0
_ANSWER_TIMEOUT_S = 600


def connect(url: str, user: str, password: str) -> Client:
    """A client that may write and merge."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    return clickhouse_connect.get_client(
        host=parts.hostname,
        port=parts.port or 8123,
        username=user,
        password=password,
        autogenerate_session_id=False,
        send_receive_timeout=_ANSWER_TIMEOUT_S,
    )


def number(client: Client, query: str) -> int:
    """The one number that a query answers."""
    return int(client.query(query).result_rows[0][0])


def await_rows(client: Client, table: str, rows: int, *, timeout_s: float = 300) -> None:
    """Return when the table holds `rows` rows.

    Raises:
        RuntimeError: it holds more, or fewer after `timeout_s`.
    """
    deadline_s = time.monotonic() + timeout_s
    while (found := number(client, f"SELECT count() FROM {table}")) != rows:
        if found > rows:
            raise RuntimeError(f"{table}: must hold {rows} rows, holds {found}")
        if time.monotonic() > deadline_s:
            raise RuntimeError(f"{table}: must hold {rows} rows within {timeout_s} s, holds {found}")
        time.sleep(_POLL_S)


def await_merges(client: Client) -> None:
    """Return when no merge has run for some seconds."""
    quiet_since_s = time.monotonic()
    while time.monotonic() - quiet_since_s < _QUIET_S:
        if number(client, "SELECT count() FROM system.merges"):
            quiet_since_s = time.monotonic()
        time.sleep(_POLL_S)


def merge_all(client: Client, database: str = "otel") -> None:
    """One final merge of every table, so that no work is left to anyone's future."""
    names = client.query(
        f"SELECT name FROM system.tables WHERE database = '{database}' AND engine LIKE '%MergeTree'"
    ).result_columns
    for name in names[0] if names else []:
        client.command(f"OPTIMIZE TABLE {database}.`{name}` FINAL")


def bytes_on_disk(client: Client, table: str, database: str = "otel") -> int:
    """Compressed bytes of a table's active parts."""
    return number(
        client,
        f"SELECT sum(bytes_on_disk) FROM system.parts WHERE database = '{database}' AND table = '{table}' AND active",
    )
