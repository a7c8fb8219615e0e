"""Killed between a token and its part, or with a token cut short: a repeated insert gives every row exactly once."""

from __future__ import annotations

import shutil
from pathlib import Path

from clickhouse_connect.driver.client import Client

from processors.insert import StoreInserter
from processors.store_client import connect
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port

_TABLE = (
    "CREATE TABLE IF NOT EXISTS {name} (Day Date, X UInt64) ENGINE = MergeTree PARTITION BY Day ORDER BY X"
    " SETTINGS non_replicated_deduplication_window = 1000"
)


class Tables:
    """A table, and one behind it that a view fills, on a store that is started and stopped again and again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settings = StoreSettings(http_port=free_port())

    def insert(self, *numbers: int, merge: bool = False) -> tuple[list[int], list[int]]:
        """Insert each number under its own token; what both tables hold then."""
        with EmbeddedStore(self._folder, self._settings) as store:

            def client() -> Client:
                return connect(store.url, user=store.writer_user, password=store.writer_password)

            asking = client()
            for name in ("base", "rollup"):
                asking.command(_TABLE.format(name=name))
            asking.command("CREATE MATERIALIZED VIEW IF NOT EXISTS view TO rollup AS SELECT Day, X FROM base")
            inserter = StoreInserter(client, store.database)
            for number in numbers:
                inserter.rows("base", [{"Day": "2026-01-01", "X": number}], f"token {number}")
            for name in ("base", "rollup") if merge else ():
                asking.command(f"OPTIMIZE TABLE {name} FINAL")
            held = [asking.query(f"SELECT X FROM {name} ORDER BY X").result_columns for name in ("base", "rollup")]
            inserter.close()
            asking.close()
        base, rollup = ([int(x) for x in columns[0]] if columns else [] for columns in held)
        return base, rollup

    def logs(self) -> list[Path]:
        return sorted((self._folder / "data").glob("store/*/*/deduplication_logs/deduplication_log_*.txt"))

    def part(self, log: Path, record: int) -> Path:
        """The folder of the part that a record of a log names."""
        return log.parent.parent / log.read_text().splitlines()[record].split("\t")[1]


def test_rows_whose_token_was_kept_without_them_are_inserted_again(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "store")
    assert tables.insert(1, 2) == ([1, 2], [1, 2])
    for log in tables.logs():
        # What a kill between the engine's token and its rename leaves.
        shutil.rmtree(tables.part(log, record=-1))

    assert tables.insert(1, 2) == ([1, 2], [1, 2])


def test_tokens_of_merged_parts_are_kept(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "store")
    tables.insert(1, 2, 3, merge=True)
    for log in tables.logs():
        for record in range(3):
            # The engine lets merged parts lie for minutes; here they are gone.
            shutil.rmtree(tables.part(log, record))

    assert tables.insert(1, 2, 3) == ([1, 2, 3], [1, 2, 3])


def test_a_token_that_a_full_disk_cut_short_costs_no_other_token(tmp_path: Path) -> None:
    tables = Tables(tmp_path / "store")
    tables.insert(1, 2, 3)
    for log in tables.logs():
        first, second, third = log.read_text().splitlines()
        log.write_text(f"{first}\n{second[:20]}{second}\n{second}\n{third}\n1\t20260101_9")

    assert tables.insert(1, 2, 3, 4) == ([1, 2, 3, 4], [1, 2, 3, 4])
