"""Killed while tables are made, changed, renamed and dropped: nothing that the engine leaves is taken for foreign."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from sluiceway.embedded import store as embedded_store
from sluiceway.embedded.store import EmbeddedStore
from tests.faults.test_store_child import wait_until
from tests.faults.test_store_foreign import asking, opened


@pytest.fixture
def changing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[EmbeddedStore, Callable[[], int]]]:
    """A store whose tables are made, changed, renamed and dropped all the time, and the rows acknowledged."""
    monkeypatch.setattr(embedded_store, "BACKOFF_MAX_S", 0.1)
    store, ending = opened(tmp_path / "changed"), threading.Event()
    acknowledged = [0]

    def insert() -> None:
        with connected(store) as command:
            while not ending.is_set():
                if command(
                    f"INSERT INTO kept SELECT {acknowledged[0]} + number, number % 3 FROM numbers(10)",
                    settings={"insert_deduplication_token": f"token {acknowledged[0]}"},
                ):
                    acknowledged[0] += 10

    def change(statements: tuple[str, ...]) -> None:
        with connected(store) as command:
            while not ending.is_set():
                for statement in statements:
                    command(statement)

    with store:
        with connected(store) as command:
            assert command(
                "CREATE TABLE kept (X UInt64, P UInt8) ENGINE = MergeTree PARTITION BY P ORDER BY X"
                " SETTINGS non_replicated_deduplication_window = 1000"
            )
        threads = [threading.Thread(target=insert), *(threading.Thread(target=change, args=[s]) for s in CHANGES)]
        for thread in threads:
            thread.start()
        try:
            yield store, lambda: acknowledged[0]
        finally:
            ending.set()
            for thread in threads:
                thread.join()


CHANGES = (
    (
        (
            "CREATE TABLE IF NOT EXISTS a (X UInt64, P UInt8) ENGINE = MergeTree PARTITION BY P ORDER BY X"
            " SETTINGS non_replicated_deduplication_window = 10, enable_block_number_column = 1,"
            " enable_block_offset_column = 1"
        ),
        "INSERT INTO a SELECT number, number % 5 FROM numbers(100)",
        "ALTER TABLE a ADD COLUMN IF NOT EXISTS Y String",
        "ALTER TABLE a UPDATE Y = 'y' WHERE X > 5",
        "UPDATE a SET Y = 'z' WHERE X < 5",
        "DELETE FROM a WHERE X = 7",
        "ALTER TABLE a DETACH PARTITION 3",
        "ALTER TABLE a ATTACH PARTITION 3",
        "OPTIMIZE TABLE a FINAL",
        "ALTER TABLE a DROP PARTITION 2",
        "CREATE TABLE IF NOT EXISTS b AS a",
        "EXCHANGE TABLES a AND b",
        "ALTER TABLE b REPLACE PARTITION 1 FROM a",
        "TRUNCATE TABLE a",
        "RENAME TABLE b TO c",
        "DROP TABLE IF EXISTS c",
        "DETACH TABLE a PERMANENTLY",
        "ATTACH TABLE a",
    ),
    (
        "CREATE OR REPLACE VIEW v AS SELECT count() AS N FROM kept",
        "CREATE MATERIALIZED VIEW IF NOT EXISTS m ENGINE = MergeTree ORDER BY X AS SELECT X FROM kept",
        "CREATE OR REPLACE TABLE r (X UInt64) ENGINE = MergeTree ORDER BY X AS SELECT number FROM numbers(10)",
        "DROP TABLE IF EXISTS m SYNC",
        "CREATE DATABASE IF NOT EXISTS other",
        "CREATE TABLE IF NOT EXISTS other.t (X UInt64) ENGINE = Log",
        "INSERT INTO other.t VALUES (1)",
        (
            "CREATE OR REPLACE DICTIONARY other.d (X UInt64, Y String DEFAULT '') PRIMARY KEY X"
            " SOURCE(CLICKHOUSE(TABLE 't' DB 'other')) LIFETIME(0) LAYOUT(FLAT())"
        ),
        "DROP DATABASE IF EXISTS other SYNC",
    ),
)


class connected:  # noqa: N801
    """Statements to a store that is killed all the time: each says whether it was acknowledged."""

    def __init__(self, store: EmbeddedStore) -> None:
        self._store = store
        self._client: Client | None = None

    def __enter__(self) -> Callable[..., bool]:
        return self._command

    def _command(self, statement: str, **options: object) -> bool:
        try:
            if self._client is None:
                self._client = asking(self._store)
            self._client.command(statement, **options)  # type: ignore[arg-type]
        except Exception:  # noqa: BLE001  refused, unanswered or cut off: not acknowledged
            return False
        return True

    def __exit__(self, *_: object) -> None:
        if self._client is not None:
            self._client.close()


@pytest.mark.parametrize("rounds", [6, pytest.param(100, marks=pytest.mark.long)])
def test_nothing_that_the_engine_leaves_when_it_is_killed_is_foreign(
    changing: tuple[EmbeddedStore, Callable[[], int]], rounds: int
) -> None:
    store, acknowledged = changing
    for round_ in range(1, rounds + 1):
        before = acknowledged()
        wait_until(lambda before=before: acknowledged() >= before + 50, "inserts between two kills")  # type: ignore[misc]
        assert store.pid is not None
        os.kill(store.pid, signal.SIGKILL)
        wait_until(lambda round_=round_: store.restarts >= round_ and store.alive, "restart")  # type: ignore[misc]
        assert not (store.folder / "set-aside").exists(), list((store.folder / "set-aside").rglob("*"))
    with connected(store) as command:
        count = acknowledged()
        assert command(f"SELECT throwIf(count() != {count}) FROM (SELECT DISTINCT X FROM kept WHERE X < {count})")
