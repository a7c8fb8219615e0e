"""The reading side of the store: named questions over HTTP, a few at once, off the event loop, read-only user."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import clickhouse_connect
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.httputil import get_pool_manager

from dashboards import queries
from schemas.errors import OverloadedError, StoreUnavailableError
from schemas.telemetry import histogram

Row = dict[str, Any]
_query_duration = histogram("sluiceway_viewer_query_duration_seconds")


class StoreReader:
    """Asks the store the questions in `dashboards/queries`.

    At most `pool_size` queries run at once and `waiting_max` wait; each is bounded by `query_timeout_s`, which the
    store itself enforces. The connection is made at the first question, so a store that is still starting is no error
    before somebody asks.
    """

    def __init__(
        self, url: str, *, database: str = "otel", pool_size: int = 3, query_timeout_s: int = 10, waiting_max: int = 64
    ) -> None:
        self._url = urlsplit(url)
        self._database = database
        self._query_timeout_s = query_timeout_s
        self._pool = ThreadPoolExecutor(pool_size, thread_name_prefix="viewer-query")
        self._http = get_pool_manager(maxsize=pool_size, num_pools=1)
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
        if self._client is not None:
            self._client.close()
        self._http.clear()

    def _ask(self, question: str, parameters: Row) -> list[Row]:
        started = time.perf_counter()
        try:
            result = self._connected().query(
                queries.read(question), parameters=parameters, settings={"max_execution_time": self._query_timeout_s}
            )
        except (ClickHouseError, OSError) as error:
            if getattr(error, "code", None):
                raise StoreUnavailableError(
                    f"the store refused {question}: {_first_line(error)}", retry_after_s=5
                ) from error
            raise StoreUnavailableError(f"the store at {self._url.netloc} does not answer", retry_after_s=2) from error
        finally:
            _query_duration.record(time.perf_counter() - started, {"query": question})
        return list(result.named_results())

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                # Without a session the server lets one user's queries run side by side.
                self._client = clickhouse_connect.get_client(
                    interface=self._url.scheme,
                    host=self._url.hostname or "127.0.0.1",
                    port=self._url.port or 8123,
                    username="default",
                    database=self._database,
                    pool_mgr=self._http,
                    autogenerate_session_id=False,
                    connect_timeout=5,
                    send_receive_timeout=self._query_timeout_s + 5,
                    query_retries=0,
                    tz_mode="aware",
                )
            return self._client


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:300]
