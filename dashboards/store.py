"""The reading side of the store: named questions over HTTP, a few at once, off the event loop, read-only user."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from dashboards import queries
from schemas.errors import OverloadedError, StoreUnavailableError
from schemas.telemetry import histogram

Row = dict[str, Any]
# UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED
_LOGIN_REFUSED = frozenset({192, 193, 194, 516})
_query_duration = histogram("sluiceway_viewer_query_duration_seconds")


class StoreReader:
    """Asks the store the questions in `dashboards/queries`.

    `connect` opens a client as a user that may only read, at the first question and again after a login was refused, so
    a store that is still starting is no error before somebody asks. `where` names the store in errors.

    At most `pool_size` queries run at once and `waiting_max` wait; each is bounded by `query_timeout_s`, which the
    store itself enforces.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        where: str,
        pool_size: int = 3,
        query_timeout_s: int = 10,
        waiting_max: int = 64,
    ) -> None:
        self._connect = connect
        self._where = where
        self._query_timeout_s = query_timeout_s
        self._pool = ThreadPoolExecutor(pool_size, thread_name_prefix="viewer-query")
        self._admitted = threading.Semaphore(pool_size + waiting_max)
        self._client: Client | None = None
        self._connecting = threading.Lock()

    async def ask(self, question: str, parameters: Mapping[str, Any] | None = None) -> list[Row]:
        """Rows of `queries/<question>.sql`, a dict a row.

        Raises:
            StoreUnavailableError: the store is away, stopped the query or refused it.
            OverloadedError: too many queries wait already.
        """
        if not self._admitted.acquire(blocking=False):
            raise OverloadedError("the viewer's queue for the store is full", retry_after_s=2.0)
        try:
            answer = self._pool.submit(self._ask, question, dict(parameters or {}))
        except RuntimeError as error:
            self._admitted.release()
            raise StoreUnavailableError("the viewer is stopping") from error
        # A reader who went away cancels the wait, not the query: its place is free when the query has ended.
        answer.add_done_callback(lambda _: self._admitted.release())
        return await asyncio.wrap_future(answer)

    def close(self) -> None:
        """Let running queries end, refuse further ones and drop the connections."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        with self._connecting:
            self._drop()

    def _ask(self, question: str, parameters: Row) -> list[Row]:
        started = time.perf_counter()
        try:
            result = self._connected().query(
                queries.read(question), parameters=parameters, settings={"max_execution_time": self._query_timeout_s}
            )
        except (StoreUnavailableError, ClickHouseError, HTTPError, OSError) as error:
            code = _code(error)
            if code in _LOGIN_REFUSED:
                with self._connecting:
                    # The password may have changed; the next question reads it again.
                    self._drop()
            if code:
                raise StoreUnavailableError(
                    f"the store refused {question}: {_first_line(error)}", retry_after_s=5
                ) from error
            raise StoreUnavailableError(f"the store at {self._where} does not answer", retry_after_s=2) from error
        finally:
            _query_duration.record(time.perf_counter() - started, {"query": question})
        return list(result.named_results())

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _code(error: BaseException) -> int | None:
    """ClickHouse's code; `connect` wraps the driver's error."""
    code: int | None = getattr(error.__cause__ if isinstance(error, StoreUnavailableError) else error, "code", None)
    return code


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
