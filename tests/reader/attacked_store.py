"""A running store with a native port, a table that everybody may read, and markers that no answer may hold."""

from __future__ import annotations

import hashlib
import json
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from processors.store_client import connect
from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port

TABLE = "reader_sees"
# Types of our own tables: what a client must be able to take.
CREATE = f"""
CREATE TABLE {TABLE} (
    Id UInt64, At DateTime64(9, 'UTC'), Service LowCardinality(String),
    Attributes Map(LowCardinality(String), String), Durations Array(UInt64)
) ENGINE = MergeTree ORDER BY Id
"""
# Id, seconds since 1970, nanoseconds, service, attributes, durations.
ROWS: list[tuple[int, int, int, str, dict[str, str], list[int]]] = [
    (0, 1_764_547_200, 0, "cart", {}, []),
    (1, 1_764_547_201, 123_456_789, "cart", {"http.route": "/cart/{id}"}, [1, 2, 3]),
    (2, 1_764_547_202, 999_999_999, "bezahlen-日本", {"a": "1", "z": "\t'\"\\"}, [0, 2**63, 2**64 - 1]),
]
# Distinct, so that an answer that holds one tells where it was read from.
PRIVATE_MARKER, FILE_MARKER, LOG_MARKER = "private-row-5f0c1d", "file-line-81b7aa", "logged-literal-c29e04"
PRIVATE_TABLE = "vault_7e2d"


@dataclass(frozen=True)
class AttackedStore:
    """The store, its writer's client, and where others reach it."""

    store: EmbeddedStore
    writer: Client
    http_port: int
    native_port: int

    @property
    def url(self) -> str:
        return self.store.url

    @property
    def table(self) -> str:
        """Qualified."""
        return f"{self.store.database}.{TABLE}"


def snapshot(folder: Path) -> dict[str, str]:
    """Kind, mode and content of everything below a folder but `logs/`, which the server writes with every error."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name == "logs" or name.startswith("logs/"):
            continue
        what = path.lstat()
        content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(what.st_mode) else ""
        found[name] = f"{stat.filemode(what.st_mode)} {content}"
    return found


def settled_snapshot(folder: Path, timeout_s: float = 30.0) -> dict[str, str]:
    """The snapshot once two in a row are the same: what an insert or a start began in the background has ended.

    Raises:
        TimeoutError: it went on changing.
    """
    deadline_s = time.monotonic() + timeout_s
    before = snapshot(folder)
    while True:
        time.sleep(0.5)
        after = snapshot(folder)
        if after == before:
            return after
        if time.monotonic() > deadline_s:
            raise TimeoutError(f"{folder}: still changing: {sorted(set(before.items()) ^ set(after.items()))[:10]}")
        before = after


@contextmanager
def attacked(folder: Path, **settings: object) -> Iterator[AttackedStore]:
    http_port, native_port = free_port(), free_port()
    fields: dict[str, object] = {"http_port": http_port, "native_port": native_port, **settings}
    with EmbeddedStore(folder, StoreSettings.model_validate(fields)) as store:
        writer = connect(store.url, user=store.writer_user, password=store.writer_password, database=store.database)
        try:
            fill(writer)
            yield AttackedStore(store, writer, http_port, native_port)
        finally:
            writer.close()


def fill(writer: Client) -> None:
    """What readers see, and beside it what they must not."""
    writer.command(CREATE)
    # As text: a driver that takes DateTime64 as Python's datetime would lose the nanoseconds.
    lines = [
        json.dumps({
            "Id": number, "At": f"{seconds}.{nanoseconds:09}", "Service": service, "Attributes": attributes,
            "Durations": durations,
        })
        for number, seconds, nanoseconds, service, attributes, durations in ROWS
    ]  # fmt: skip
    writer.raw_insert(TABLE, insert_block="\n".join(lines), fmt="JSONEachRow")
    writer.command("CREATE DATABASE private")
    writer.command(f"CREATE TABLE private.{PRIVATE_TABLE} (Text String) ENGINE = MergeTree ORDER BY Text")
    writer.command(f"INSERT INTO private.{PRIVATE_TABLE} VALUES ('{PRIVATE_MARKER}')")
    # Failed queries are logged whole.
    with suppress(DatabaseError):
        writer.command(f"SELECT throwIf(1, '{LOG_MARKER}')")
