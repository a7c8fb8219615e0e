"""The reading side of the store: named questions over HTTP, a few at once, off the event loop, read-only user."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from clickhouse_connect.driver.query import QueryResult
from urllib3.exceptions import HTTPError

from dashboards import queries
from schemas import store_error
from schemas.errors import OverloadedError, StoreUnavailableError
from schemas.telemetry import histogram

Row = dict[str, Any]
Kind = Literal["time", "text", "number", "other"]


@dataclass(frozen=True, slots=True)
class Frame:
    """An answer with its columns: their names, what they hold, and rows."""

    names: Sequence[str]
    kinds: Sequence[Kind]
    rows: Sequence[Sequence[Any]]

    def dicts(self) -> list[Row]:
        """A dict a row."""
        return [dict(zip(self.names, row, strict=True)) for row in self.rows]


# UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED
_LOGIN_REFUSED = frozenset({192, 193, 194, 516})
_query_duration = histogram("sluiceway_viewer_query_duration_seconds")


class StoreReader:
    """Asks the store the questions in `dashboards/queries`.

    `connect` opens a client as a user that may only read, at the first question and again after a login was refused, so
    a store that is still starting is no error before somebody asks.

    At most `pool_size` queries run at once and `waiting_max` wait; each is bounded by `query_timeout_s`, which the
    store itself enforces.
    """

    def __init__(
        self,
        connect: Callable[[], Client],
        *,
        pool_size: int = 3,
        query_timeout_s: int = 10,
        waiting_max: int = 64,
    ) -> None:
        self._connect = connect
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
        return list((await self._answer(question, queries.read(question), dict(parameters or {}))).named_results())

    async def frame(self, question: str, sql: str) -> Frame:
        """The answer of a statement of a dashboard file, which `question` names in errors and metrics.

        Raises:
            StoreUnavailableError, OverloadedError: as `ask`.
        """
        found = await self._answer(question, sql, {}, metric="dashboard")
        return Frame(found.column_names, [_kind(each.name) for each in found.column_types], found.result_rows)

    async def _answer(self, question: str, sql: str, parameters: Row, metric: str = "") -> QueryResult:
        if not self._admitted.acquire(blocking=False):
            raise OverloadedError("the viewer's queue for the store is full", retry_after_s=2.0)
        try:
            answer = self._pool.submit(self._ask, question, sql, parameters, metric or question)
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

    def _ask(self, question: str, sql: str, parameters: Row, metric: str) -> QueryResult:
        started = time.perf_counter()
        try:
            return self._connected().query(
                sql, parameters=parameters, settings={"max_execution_time": self._query_timeout_s}
            )
        except (StoreUnavailableError, ClickHouseError, HTTPError, OSError) as error:
            # `connect` wraps the driver's error.
            said = (error.__cause__ or error) if isinstance(error, StoreUnavailableError) else error
            code: int | None = getattr(said, "code", None)
            if code in _LOGIN_REFUSED:
                with self._connecting:
                    # The password may have changed; the next question reads it again.
                    self._drop()
            if code:
                raise StoreUnavailableError(
                    f"the store refused {question}: {store_error.refusal(str(said)) or f'code {code}'}",
                    retry_after_s=5,
                ) from error
            raise StoreUnavailableError("the store does not answer", retry_after_s=2) from error
        finally:
            _query_duration.record(time.perf_counter() - started, {"query": metric})

    def _connected(self) -> Client:
        with self._connecting:
            if self._client is None:
                self._client = self._connect()
            return self._client

    def _drop(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def _kind(type_name: str) -> Kind:
    if "Date" in type_name:
        return "time"
    if "String" in type_name or "Enum" in type_name:
        return "other" if type_name.startswith(("Array", "Map", "Tuple")) else "text"
    return "number" if any(each in type_name for each in ("Int", "Float", "Decimal")) else "other"
