"""Inserts with and without LZ4 on the wire: one block, one token, the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import lz4.frame
import pytest

from processors.insert import StoreInserter, lz4_frame
from schemas.errors import PermanentError
from sluiceway.embedded.store import EmbeddedStore
from tests.rows_in_store import Database, database

NUMBER = itertools.count(1)
NAMES = ("Timestamp", "TenantId", "ServiceName", "Body")
# More than the 65,409 and the million rows at which the store would cut a block by itself.
ROWS = 1_200_000
WAYS = ("lz4", "none")


@pytest.fixture
def db(store: EmbeddedStore) -> Iterator[Database]:
    with database(store, f"compression_{next(NUMBER)}") as made:
        yield made


@pytest.fixture(scope="module")
def body(store: EmbeddedStore) -> memoryview:
    """One Native block of log records of one minute."""
    with database(store, "compression_source") as made:
        sql = f"""SELECT toDateTime64('2026-01-02 03:04:05', 9) AS Timestamp, toLowCardinality('shop') AS TenantId,
            toLowCardinality('cart') AS ServiceName, hex(cityHash64(number)) AS Body FROM numbers({ROWS})"""
        settings = {"max_block_size": 2 * ROWS, "max_threads": 1}
        return memoryview(made.client.raw_query(sql, settings=settings, fmt="Native"))


def inserter(db: Database, way: str) -> StoreInserter:
    return StoreInserter(db.connect, db.name, compression="lz4" if way == "lz4" else "none")


def stored(db: Database) -> tuple[int, int, int]:
    """Rows, records in the rollup, parts that inserts made."""
    [row] = db.ask(
        """SELECT (SELECT count() FROM {db}.otel_logs) AS n, (SELECT sum(Records) FROM {db}.logs_1m) AS rolled,
        (SELECT sum(max_block_number - min_block_number + 1) FROM system.parts
            WHERE active AND database = {name:String} AND table = 'otel_logs') AS blocks""",
        name=db.name,
    )
    return row["n"], row["rolled"], row["blocks"]


@pytest.mark.parametrize(("first", "second"), [*itertools.product(WAYS, WAYS)])
def test_a_token_is_taken_once_whichever_way_it_comes(db: Database, body: memoryview, first: str, second: str) -> None:
    for way in (first, second):
        inserter(db, way).native("otel_logs", NAMES, body, ROWS, "token")
    assert stored(db) == (ROWS, ROWS, 1)
    inserter(db, second).native("otel_logs", NAMES, body, ROWS, "another")
    assert stored(db) == (2 * ROWS, 2 * ROWS, 2)


def test_compressed_rows_are_the_rows(db: Database, body: memoryview) -> None:
    inserter(db, "lz4").native("otel_logs", NAMES, body, ROWS, "token")
    [row] = db.ask(
        f"""SELECT (SELECT sum(cityHash64(Body)) FROM {{db}}.otel_logs) AS got,
        (SELECT sum(cityHash64(hex(cityHash64(number)))) FROM numbers({ROWS})) AS sent"""
    )
    assert row["got"] == row["sent"]


@pytest.mark.parametrize("way", WAYS)
def test_rows_of_the_ledger_take_the_same_way(db: Database, way: str) -> None:
    row = {"Time": "2026-01-02 03:04:05.000", "Topic": "otlp_logs", "Stored": 7}
    for _ in range(2):
        inserter(db, way).rows("ledger", [row], "token")
    assert db.ask("SELECT Topic, Stored FROM {db}.ledger") == [{"Topic": "otlp_logs", "Stored": 7}]


@pytest.mark.parametrize("way", WAYS)
def test_a_body_that_is_cut_short_is_refused_whole(db: Database, body: memoryview, way: str) -> None:
    with pytest.raises(PermanentError):
        inserter(db, way).native("otel_logs", NAMES, body[: len(body) // 2], ROWS, "token")
    assert db.count("otel_logs") == 0


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 5 << 20])
def test_a_frame_is_made_of_pieces_and_reads_back(size: int) -> None:
    body = (b"sluiceway" * (size // 9 + 1))[:size]
    pieces = list(lz4_frame(memoryview(body)))
    assert max(map(len, pieces)) <= (1 << 20) + 64
    assert lz4.frame.decompress(b"".join(pieces)) == body
