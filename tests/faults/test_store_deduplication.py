"""Killed between a token and its part, or with a token cut short: a repeated insert gives every row exactly once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client

from processors.insert import StoreInserter
from processors.store_client import connect
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port

NAMES = ("killed", "merged", "cut_short")
_TABLE = (
    "CREATE TABLE {name} (Day Date, X UInt64) ENGINE = MergeTree PARTITION BY Day ORDER BY X"
    " SETTINGS non_replicated_deduplication_window = 1000"
)
_SUM = (
    "CREATE TABLE {name} (Day Date, Calls SimpleAggregateFunction(sum, UInt64), Total SimpleAggregateFunction(sum,"
    " UInt64)) ENGINE = AggregatingMergeTree PARTITION BY Day ORDER BY Day"
    " SETTINGS non_replicated_deduplication_window = 1000"
)


class Tables:
    """A table of each name, and one behind each that a view fills, on one store."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._client = self._connect(store)
        self._inserter = StoreInserter(lambda: self._connect(store), store.database)

    def _connect(self, store: EmbeddedStore) -> Client:
        return connect(store.url, user=store.writer_user, password=store.writer_password)

    def create(self, name: str, *, summed: bool = False) -> None:
        self._client.command(_TABLE.format(name=name))
        self._client.command((_SUM if summed else _TABLE).format(name=f"{name}_rollup"))
        select = "Day, count() AS Calls, sum(X) AS Total FROM {} GROUP BY Day" if summed else "Day, X FROM {}"
        self._client.command(f"CREATE MATERIALIZED VIEW {name}_view TO {name}_rollup AS SELECT {select.format(name)}")

    def insert_batch(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """All of them under one token."""
        self._inserter.rows(name, rows, "token of the batch")

    def held_batch(self, name: str) -> tuple[list[list[int]], list[list[int]]]:
        """Day of the month, rows and their sum, of a table and of the sum behind it."""
        ask = "SELECT toDayOfMonth(Day), {} FROM {} GROUP BY Day ORDER BY Day"
        counted = self._client.query(ask.format("count(), sum(X)", name)).result_rows
        rolled_up = self._client.query(ask.format("sum(Calls), sum(Total)", f"{name}_rollup")).result_rows
        return [[int(n) for n in row] for row in counted], [[int(n) for n in row] for row in rolled_up]

    def insert(self, name: str, numbers: Iterable[int]) -> None:
        """Each number under its own token."""
        for number in numbers:
            self._inserter.rows(name, [{"Day": "2026-01-01", "X": number}], f"token {number}")

    def merge(self, name: str) -> None:
        for table in (name, f"{name}_rollup"):
            self._client.command(f"OPTIMIZE TABLE {table} FINAL")

    def logs(self, name: str) -> list[Path]:
        """The deduplication logs of both."""
        folders = self._client.query(
            "SELECT data_paths[1] FROM system.tables WHERE name IN ({a:String}, {b:String})",
            parameters={"a": name, "b": f"{name}_rollup"},
        ).result_columns[0]
        return [Path(folder, "deduplication_logs", "deduplication_log_1.txt") for folder in folders]

    def held(self, name: str) -> list[list[int]]:
        """The numbers in both."""
        ask = "SELECT X FROM {} ORDER BY X"
        answers = [self._client.query(ask.format(table)) for table in (name, f"{name}_rollup")]
        return [[int(row[0]) for row in answer.result_rows] for answer in answers]

    def close(self) -> None:
        self._inserter.close()
        self._client.close()


SUBSETS = [frozenset(subset) for size in range(5) for subset in combinations(range(4), size)]
BATCH = [{"Day": f"2026-01-0{1 + number % 2}", "X": number} for number in range(10)]


@dataclass(frozen=True, slots=True)
class Held:
    """What the tables hold after an accident, a restart, and the same inserts again.

    Attributes:
        numbers: by the name of the accident, in the table and behind it.
        batch: by the subset of parts that was kept of the four that an insert of two days makes, days in the table and
            behind it.
    """

    numbers: dict[str, list[list[int]]]
    batch: dict[frozenset[int], tuple[list[list[int]], list[list[int]]]]


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> Held:
    folder, settings = tmp_path_factory.mktemp("store"), StoreSettings(http_port=free_port())
    name = {subset: "batch" + "".join(str(number) for number in sorted(subset)) for subset in SUBSETS}
    with EmbeddedStore(folder, settings) as store:
        tables = Tables(store)
        for accident in NAMES:
            tables.create(accident)
            tables.insert(accident, (1, 2, 3))
        tables.merge("merged")
        for subset in SUBSETS:
            tables.create(name[subset], summed=True)
            tables.insert_batch(name[subset], BATCH)
        logs = {table: tables.logs(table) for table in (*NAMES, *name.values())}
        tables.close()
    for log in logs["killed"]:
        # What a kill between the engine's token and its rename leaves.
        shutil.rmtree(part(log, record=-1))
    for log in logs["merged"]:
        for record in range(3):
            # The engine lets merged parts lie for minutes; here they are gone.
            shutil.rmtree(part(log, record))
    for log in logs["cut_short"]:
        first, second, third = log.read_text().splitlines()
        log.write_text(f"{first}\n{second[:20]}{second}\n{second}\n{third}\n1\t20260101_9")
    for subset in SUBSETS:
        parts = [part(log, record) for log in logs[name[subset]] for record in range(2)]
        for number in set(range(4)) - subset:
            shutil.rmtree(parts[number])
    with EmbeddedStore(folder, settings) as store:
        tables = Tables(store)
        for accident in NAMES:
            tables.insert(accident, (1, 2, 3, 4))
        for subset in SUBSETS:
            tables.insert_batch(name[subset], BATCH)
        found = Held(
            {accident: tables.held(accident) for accident in NAMES},
            {subset: tables.held_batch(name[subset]) for subset in SUBSETS},
        )
        tables.close()
    return found


def part(log: Path, record: int) -> Path:
    """The folder of the part that a record of a log names."""
    return log.parent.parent / log.read_text().splitlines()[record].split("\t")[1]


def test_whatever_parts_of_a_batch_were_written_repeating_it_completes_them(held: Held) -> None:
    days = [[1, 5, 20], [2, 5, 25]]
    assert {subset: found for subset, found in held.batch.items() if found != (days, days)} == {}
    assert len(held.batch) == 16


EVERY_ROW_ONCE = [[1, 2, 3, 4], [1, 2, 3, 4]]


def test_rows_whose_token_was_kept_without_them_are_inserted_again(held: Held) -> None:
    assert held.numbers["killed"] == EVERY_ROW_ONCE


def test_tokens_of_merged_parts_are_kept(held: Held) -> None:
    assert held.numbers["merged"] == EVERY_ROW_ONCE


def test_a_token_that_a_full_disk_cut_short_costs_no_other_token(held: Held) -> None:
    assert held.numbers["cut_short"] == EVERY_ROW_ONCE
