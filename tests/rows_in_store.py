"""A database of a test's own with all our tables, and what its rows are, to the nanosecond and the last bit."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from clickhouse_connect.driver.client import Client

from processors import schema
from processors.insert import StoreInserter
from processors.store_client import connect
from schemas.columns import BY_NAME, Column
from schemas.settings import RetentionSettings
from sluiceway.embedded.store import EmbeddedStore

# Test data is from a fixed year, which shall not expire.
KEPT = RetentionSettings(
    traces_days=3650, logs_days=3650, metrics_days=3650, rollups_days=3650, hourly_rollups_days=3650
)


class Database:
    """Our schema under a name of the test's own."""

    def __init__(self, store: EmbeddedStore, name: str) -> None:
        self._where = (store.url, store.writer_user, store.writer_password)
        self.name = name
        self.client = self.connect()

    @classmethod
    def of_reader(cls, url: str, name: str = "otel") -> Database:
        """The database of a pipeline that runs elsewhere, as its read-only user."""
        made = cls.__new__(cls)
        made._where, made.name = (url, "default", ""), name
        made.client = made.connect()
        return made

    def connect(self) -> Client:
        """Another client of the writer."""
        return connect(self._where[0], user=self._where[1], password=self._where[2], database="default")

    def inserter(self) -> StoreInserter:
        """What the writer inserts through."""
        return StoreInserter(self.connect, self.name)

    def answer(self, sql: str, form: str = "JSONEachRow", **parameters: Any) -> bytes:
        """The server's answer; `{db}` in `sql` stands for the database."""
        settings = {"output_format_json_quote_64bit_integers": 0, "max_block_size": 1_000_000, "max_threads": 1}
        return bytes(
            self.client.raw_query(sql.replace("{db}", self.name), parameters=parameters, settings=settings, fmt=form)
        )

    def ask(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """Rows; maps are lists of pairs, as they may hold a key twice."""
        lines = self.answer(sql, **parameters).decode().split("\n")
        return [dict(json.loads(line, object_pairs_hook=list)) for line in lines if line]

    def rows(self, table: str, where: str = "1") -> list[dict[str, Any]]:
        """All rows of a base table, comparable with those of the oracle."""
        columns = BY_NAME[table].columns
        select = ", ".join(f"{_exact(column)} AS `{column.name}`" for column in columns)
        found = self.ask(f"SELECT {select} FROM (SELECT * FROM {{db}}.{table} WHERE {where})")
        return [{column.name: _bits(column.type, row[column.name]) for column in columns} for row in found]

    def count(self, table: str) -> int:
        """How many rows a table has."""
        return int(self.ask(f"SELECT count() AS n FROM {{db}}.{table}")[0]["n"])


def _exact(column: Column) -> str:
    match column.type:
        case "DateTime64(9)":
            return f"toUnixTimestamp64Nano(`{column.name}`)"
        case "Array(DateTime64(9))":
            return f"arrayMap(t -> toUnixTimestamp64Nano(t), `{column.name}`)"
        case "Float64":
            return f"reinterpretAsUInt64(`{column.name}`)"
        case "Array(Float64)":
            return f"arrayMap(x -> reinterpretAsUInt64(x), `{column.name}`)"
        case _:
            return f"`{column.name}`"


def _bits(type_name: str, value: Any) -> Any:
    if type_name in ("Float64", "Array(Float64)"):
        values = value if isinstance(value, list) else [value]
        doubles = [struct.pack("<Q", bits) for bits in values]
        exact = ["NaN" if number != number else bits for bits, (number,) in _numbers(doubles)]  # noqa: PLR0124
        return exact if isinstance(value, list) else exact[0]
    if type_name.startswith("Map"):
        return [tuple(pair) for pair in value]
    if type_name.startswith("Array(Map"):
        return [[tuple(pair) for pair in each] for each in value]
    return value


def _numbers(doubles: list[bytes]) -> list[tuple[bytes, tuple[float]]]:
    return [(bits, struct.unpack("<d", bits)) for bits in doubles]


@contextmanager
def database(store: EmbeddedStore, name: str) -> Iterator[Database]:
    """A database with our schema, dropped at the end."""
    made = Database(store, name)
    try:
        schema.apply(made.client, name, KEPT)
        yield made
    finally:
        made.client.command(f"DROP DATABASE IF EXISTS {name} SYNC")
        made.client.close()
