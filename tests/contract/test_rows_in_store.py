"""What the encoder writes is what the store holds, answers, and would itself have written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from processors import native
from processors.arena import Arena
from processors.decode import decode
from schemas.columns import BY_NAME
from schemas.log import Record
from schemas.signals import Signal
from sluiceway.embedded.store import EmbeddedStore
from tests import decode_oracle, native_block
from tests.decoded import comparable
from tests.rows_in_store import Database, database
from tests.strategies import records_from

SEEDS = range(40)


@pytest.fixture(scope="module")
def batches() -> dict[Signal, list[Record]]:
    """One large batch a signal, of many small random ones."""
    return {
        signal: [
            Record(record.topic, 0, seed * 10 + at, record.value, record.tenant, record.received_at_ns, None)
            for seed in SEEDS
            for at, record in enumerate(records_from(seed, signal))
        ]
        for signal in Signal
    }


@pytest.fixture(scope="module")
def filled(store: EmbeddedStore, batches: dict[Signal, list[Record]]) -> Iterator[Database]:
    with database(store, "rows_as_written") as made:
        for name in BY_NAME:
            # Times reach from 1970 to 2262 here, and none shall be too old.
            made.client.command(f"ALTER TABLE {made.name}.{name} REMOVE TTL")
        arena, inserter = Arena(), made.inserter()
        for signal, records in batches.items():
            decoded = decode(signal, records, arena)
            assert decoded.faults == []
            for name, batch in decoded.tables.items():
                body = native.encode(batch, BY_NAME[name].columns, arena)
                inserter.native(name, BY_NAME[name].names, body, batch.num_rows, name)
        inserter.close()
        yield made


def ordered(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(map(repr, rows))


@pytest.mark.parametrize("table", BY_NAME)
def test_the_store_holds_the_rows_of_the_oracle(
    filled: Database, batches: dict[Signal, list[Record]], table: str
) -> None:
    signal = BY_NAME[table].signal
    expected = comparable(decode_oracle.rows(signal, batches[signal]))[table]
    assert ordered(filled.rows(table)) == ordered(expected)


@pytest.mark.parametrize("table", BY_NAME)
def test_rows_answered_as_native_and_inserted_again_are_the_same_rows(filled: Database, table: str) -> None:
    names = ", ".join(f"`{name}`" for name in BY_NAME[table].names)
    answer = filled.answer(f"SELECT {names} FROM {{db}}.{table}", "Native")
    with_rows = ordered(filled.rows(table))
    filled.client.command(f"CREATE TABLE {filled.name}.again_{table} AS {filled.name}.{table}")
    filled.client.raw_insert(
        f"{filled.name}.again_{table}", column_names=BY_NAME[table].names, insert_block=answer, fmt="Native"
    )
    # The copy is read through the columns of the original.
    filled.client.command(f"EXCHANGE TABLES {filled.name}.again_{table} AND {filled.name}.{table}")
    assert ordered(filled.rows(table)) == with_rows


@pytest.mark.parametrize("table", BY_NAME)
def test_the_encoder_writes_the_bytes_that_the_store_answers(
    filled: Database, batches: dict[Signal, list[Record]], table: str
) -> None:
    """Column by column, in the order of the insert. A dictionary may be numbered in another order."""
    signal = BY_NAME[table].signal
    arena = Arena()
    batch = decode(signal, batches[signal], arena).tables[table]
    for at, column in enumerate(BY_NAME[table].columns):
        block = bytes(native.encode(batch.select([at]), [column], arena))
        memory = f"as_written_{table}_{at}"
        filled.client.command(f"CREATE TABLE {filled.name}.{memory} (`{column.name}` {column.type}) ENGINE = Memory")
        filled.client.raw_insert(
            f"{filled.name}.{memory}", column_names=[column.name], insert_block=block, fmt="Native"
        )
        answer = filled.answer(f"SELECT `{column.name}` FROM {{db}}.{memory}", "Native")
        if "LowCardinality" in column.type:
            assert list(native_block.columns(answer)) == list(native_block.columns(block))
        else:
            assert answer == block
