"""How commands reach the store: over HTTP, with errors that a person can act on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from processors.store_client import connect
from schemas.errors import StoreUnavailableError
from schemas.settings import StoreSettings
from sluiceway.embedded.configuration import WRITER
from sluiceway.embedded.folder import StoreFolder

# It logs what it also raises; a person is told once, in our words.
logging.getLogger("clickhouse_connect").addHandler(logging.NullHandler())
# Beyond the store's own bound on a query, so that the store's error arrives rather than our time-out.
_ANSWER_MARGIN_S = 10


@contextmanager
def reader(settings: StoreSettings, *, connect_timeout_s: int = 5) -> Iterator[Client]:
    """A connection as the read-only user, closed on leaving.

    Raises:
        StoreUnavailableError: no answer, or ClickHouse's own error, from here or from inside.
    """
    timeout_s = settings.reader_max_execution_s + _ANSWER_MARGIN_S
    with _opened(settings, "default", "", connect_timeout_s, timeout_s) as client:
        yield client


@contextmanager
def writer(settings: StoreSettings, folder: StoreFolder) -> Iterator[Client]:
    """A connection as the pipeline's own user, whose secret is in `folder`; errors as `reader`."""
    if not folder.secret.is_file():
        raise StoreUnavailableError(
            f"store: none was started in {folder.root} yet; name the data folder with --data-dir"
        )
    with _opened(settings, WRITER, folder.secret.read_text("ascii").strip(), 5, 600) as client:
        yield client


@contextmanager
def _opened(
    settings: StoreSettings, user: str, password: str, connect_timeout_s: int, answer_timeout_s: int
) -> Iterator[Client]:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"{host}:{settings.http_port}"
    try:
        client = connect(
            f"http://{where}",
            user=user,
            password=password,
            database=settings.database,
            connect_timeout_s=connect_timeout_s,
            answer_timeout_s=answer_timeout_s,
        )
    except StoreUnavailableError as error:
        raise StoreUnavailableError(explain(error, where)) from error
    try:
        yield client
    except (ClickHouseError, HTTPError, OSError) as error:
        # Standard output's reader may leave while rows are passed on to it.
        if isinstance(error, BrokenPipeError):
            raise
        raise StoreUnavailableError(explain(error, where)) from error
    finally:
        client.close()


def explain(error: Exception, where: str) -> str:
    """One line: ClickHouse's own words where it answered, what to do where nothing did."""
    text = " ".join(str(error).split())
    start = text.find("Code:")
    if start >= 0:
        return f"store: {text[start:][:600]}"
    return f"store: nothing answers at {where}; start it with `sluiceway up`"
