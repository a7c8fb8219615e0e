"""A data folder with a log, beside a store with our tables: what the commands that read both are run on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from schemas.log import DeadLetter, Entry
from schemas.signals import NAMES, Signal
from sluiceway.embedded.store import EmbeddedStore

TOPIC = NAMES[Signal.LOGS].topic


@dataclass
class Installation:
    """A data folder with a log, beside a store with our tables."""

    folder: Path
    store: EmbeddedStore
    writer: Client

    def insert(self, rows: int, tenant: str = "shop") -> None:
        self.writer.command(
            "INSERT INTO otel_logs (Timestamp, TenantId, ServiceName) "
            f"SELECT now64(9), '{tenant}', 'cart' FROM numbers({rows})"
        )

    def book(self, log: str, first: int, last: int, *, stored: int, dead: int = 0, tenant: str = "shop") -> None:
        position = f"now64(3), '{tenant}', '{log}', 'logs', '{TOPIC}', 0, {first}, {last}"
        self.writer.command(
            f"INSERT INTO ledger VALUES ({position}, 'otel_logs', toDate(now(), 'UTC'), 0, {stored}, 0, 0, 0, 0, 0), "
            f"({position}, '', toDate(now(), 'UTC'), {stored + dead}, 0, 0, 0, {dead}, 0, 0)"
        )


def append(writer: SqliteLogWriter, items: int, value: bytes = b"x") -> None:
    writer.append([Entry(TOPIC, value, "shop", time.time_ns(), items=items)])


def commit(reader: SqliteLogReader, last: int, *dead: DeadLetter) -> None:
    reader.freeze(0, last)
    reader.commit(0, dead)
