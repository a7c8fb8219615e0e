"""A store with our tables, rows written as the writer writes them, and a viewer on a free port."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import urlopen

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from dashboards.boards.file import provided
from dashboards.settings import ViewerSettings
from dashboards.viewer.health import HealthFigures
from dashboards.viewer.serve import Viewer
from processors.store_client import connect
from schemas.ddl import definitions
from schemas.log import LogSnapshot
from schemas.settings import RetentionSettings
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.embedded.users import WRITER

TABLES = (
    "otel_traces",
    "otel_traces_trace_id_ts",
    "otel_logs",
    "spans_1m",
    "spans_1h",
    "services_1m",
    "services_1h",
    "logs_1m",
    "ledger",
)


class GivenHealth:
    """The log side as a test wants it. `figures` may raise what was given."""

    def __init__(self, log: LogSnapshot | Exception | None = None) -> None:
        self.log = log if log is not None else LogSnapshot([], {}, {}, {})

    def figures(self) -> HealthFigures:
        if isinstance(self.log, Exception):
            raise self.log
        return HealthFigures(self.log, log_size_bytes=4096, log_max_bytes=1 << 30, lag_s=0.25)


def writer(store: EmbeddedStore) -> Client:
    """A client that may write, on the store's database."""
    return clickhouse_connect.get_client(
        host="127.0.0.1",
        port=urlsplit(store.url).port or 0,
        username=WRITER,
        password=store.writer_password,
        database=store.database,
        autogenerate_session_id=False,
    )


def create_tables(client: Client) -> None:
    """All our tables and views, where they are not there yet."""
    kept = RetentionSettings(traces_days=3650, logs_days=3650, rollups_days=3650, hourly_rollups_days=3650)
    for definition in definitions("otel", kept):
        client.command(definition.create)


def empty_tables(client: Client) -> None:
    """No rows in any table that the viewer reads."""
    for table in TABLES:
        client.command(f"TRUNCATE TABLE otel.{table}")


def span(
    at_s: float, service: str, *, duration_ns: int = 10_000_000, failed: bool = False, trace_id: str = "",
    span_id: str = "", parent: str = "", name: str = "GET /", kind: str = "Server", version: str = "1.0",
    **columns: Any,
) -> dict[str, Any]:  # fmt: skip
    """A row of otel_traces."""
    return {
        "Timestamp": f"{at_s:.9f}",
        "TraceId": trace_id,
        "SpanId": span_id,
        "ParentSpanId": parent,
        "SpanName": name,
        "SpanKind": kind,
        "ServiceName": service,
        "Duration": duration_ns,
        "StatusCode": "Error" if failed else "Unset",
        "ServiceVersion": version,
        "Environment": "production",
        **columns,
    }


def log_record(
    at_s: float, service: str, body: str, *, trace_id: str, span_id: str, severity: int = 9
) -> dict[str, Any]:
    """A row of otel_logs."""
    return {
        "Timestamp": f"{at_s:.9f}",
        "TraceId": trace_id,
        "SpanId": span_id,
        "ServiceName": service,
        "SeverityText": "ERROR" if severity >= 17 else "INFO",
        "SeverityNumber": severity,
        "Body": body,
    }


def insert(client: Client, table: str, rows: Iterable[Mapping[str, Any]], database: str = "otel") -> None:
    """Insert rows; columns that a row lacks take their defaults."""
    body = "\n".join(json.dumps(row) for row in rows)
    client.raw_insert(f"{database}.{table}", insert_block=body.encode(), fmt="JSONEachRow")


@contextmanager
def serving(store_url: str, health: GivenHealth | None = None, **settings: Any) -> Iterator[Viewer]:
    """A viewer on a free port for as long as the block runs."""
    chosen = ViewerSettings(port=0, **settings)
    viewer = Viewer(chosen, partial(connect, store_url), health or GivenHealth(), boards=provided())
    viewer.start()
    try:
        yield viewer
    finally:
        viewer.stop()


def get(url: str) -> tuple[int, str, Mapping[str, str]]:
    """Status, text and headers of a page."""
    try:
        with urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode(), dict(answer.headers)
    except HTTPError as refusal:
        with refusal:
            return refusal.code, refusal.read().decode(), dict(refusal.headers)
