"""One insert: a body, its table, its token. The settings here are half of the exactly-once protocol."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Literal, cast

import lz4.frame
from clickhouse_connect.driver.client import Client

from processors.store_circuit import guarded
from processors.store_client import store_errors
from schemas.breaker import CircuitBreaker
from schemas.telemetry import counter, histogram

_BODY_CHUNK_BYTES = 1 << 20
# LZ4's acceleration: columns of the standard spans take 0.106 us a row instead of 0.133, and 3 % more bytes.
_LZ4_LEVEL = -10

# A batch must arrive as the one block that it is: the token stands for the block, and a split would need two. The
# server default of dependent views has changed between versions, so it is always said. Timestamps may span any number
# of days within retention, and a refusal would make the batch poison.
_SETTINGS: Mapping[str, Any] = {
    "async_insert": 0,
    "insert_deduplicate": 1,
    "deduplicate_blocks_in_dependent_materialized_views": 1,
    "max_insert_threads": 1,
    "max_partitions_per_insert_block": 0,
    "max_insert_block_size": 10_000_000,
    "min_insert_block_size_rows": 10_000_000,
    "min_insert_block_size_bytes": 0,
    "materialized_views_ignore_errors": 0,
    "input_format_native_allow_types_conversion": 1,
}


class StoreInserter:
    """Inserts into one database over one HTTP client.

    `connect` opens the client at first use and after it was dropped. `compression` is that of bodies on their way; the
    store sees the same block either way, so a token may be repeated with the other one.

    Attributes:
        breaker: stands before every insert; None lets all of them go.
    """

    breaker: CircuitBreaker | None = None

    def __init__(
        self, connect: Callable[[], Client], database: str, *, compression: Literal["lz4", "none"] = "none"
    ) -> None:
        self._connect = connect
        self._database = database
        self._compressed = compression == "lz4"
        self._client: Client | None = None
        self._rows = counter("sluiceway_store_inserted_rows_total")
        self._bytes = counter("sluiceway_store_inserted_bytes_total")
        self._duration = histogram("sluiceway_store_insert_duration_seconds")

    def native(self, table: str, names: Sequence[str], body: memoryview, rows: int, token: str) -> None:
        """Insert one Native block; returns when it is durable, views included.

        Raises:
            StoreUnavailableError: the outcome is unknown or a refusal, or the circuit is open; the same token may be
                sent again.
            PermanentError: the store refuses these bytes.
        """
        self._insert(table, names, body, rows, token, "Native")

    def rows(self, table: str, rows: Sequence[Mapping[str, Any]], token: str) -> None:
        """Insert a few rows of equal keys; errors as `native`."""
        body = "\n".join(json.dumps(row) for row in rows).encode()
        self._insert(table, list(rows[0]), memoryview(body), len(rows), token, "JSONEachRow")

    def query(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
        """The few rows of a SELECT from `{database:Identifier}`; errors as `native`."""
        with guarded(self.breaker), store_errors():
            if self._client is None:
                self._client = self._connect()
            return self._client.query(sql, parameters={**parameters, "database": self._database}).result_rows

    def _insert(self, table: str, names: Sequence[str], body: memoryview, rows: int, token: str, form: str) -> None:
        started_s = time.monotonic()
        with guarded(self.breaker), store_errors():
            if self._client is None:
                self._client = self._connect()
            self._client.raw_insert(
                f"{self._database}.{table}",
                column_names=list(names),
                insert_block=cast("Any", lz4_frame(body) if self._compressed else _pieces(body)),
                fmt=form,
                compression="lz4" if self._compressed else None,
                # A body of known length is sent from where it lies; in HTTP chunks each piece would be copied twice.
                transport_settings=None if self._compressed else {"Content-Length": str(len(body))},
                settings={**_SETTINGS, "insert_deduplication_token": token},
            )
        labels = {"table": table}
        self._rows.add(rows, labels)
        self._bytes.add(len(body), labels)
        self._duration.record(time.monotonic() - started_s, labels)

    def close(self) -> None:
        """Drop the client; the next insert opens another."""
        if self._client is not None:
            self._client.close()
            self._client = None


def lz4_frame(body: memoryview) -> Generator[bytes]:
    """One LZ4 frame of `body`, about a megabyte of it at a time; the body is read where it lies, never copied."""
    # Flushed at each block: the compressor would otherwise keep what does not fill its own, and copy it.
    compressor = lz4.frame.LZ4FrameCompressor(
        block_size=lz4.frame.BLOCKSIZE_MAX1MB,
        block_linked=False,
        auto_flush=True,
        compression_level=_LZ4_LEVEL,
    )
    yield compressor.begin()
    for start in range(0, len(body), _BODY_CHUNK_BYTES):
        if piece := compressor.compress(body[start : start + _BODY_CHUNK_BYTES]):
            yield piece
    yield compressor.flush()


def _pieces(body: memoryview) -> Generator[memoryview]:
    # In pieces, for the time-out of a connection holds for each: a store under load reads 30 MB in seconds.
    for start in range(0, len(body), _BODY_CHUNK_BYTES):
        yield body[start : start + _BODY_CHUNK_BYTES]
