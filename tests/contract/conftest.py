"""An installation for the commands: a real SQLite log and a real ClickHouse server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from processors.store_client import connect
from schemas.ddl import definitions
from schemas.settings import LogSettings, RetentionSettings, StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port
from tests.installation_under_test import TOPIC, Installation


@pytest.fixture(scope="module")
def installed_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedStore, Client]]:
    with EmbeddedStore(tmp_path_factory.mktemp("store"), StoreSettings(http_port=free_port())) as running:
        client = connect(running.url, user=running.writer_user, password=running.writer_password)
        for definition in definitions("otel", RetentionSettings()):
            client.command(definition.create)
        try:
            yield running, client
        finally:
            client.close()


@pytest.fixture
def installation(
    installed_store: tuple[EmbeddedStore, Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    running, client = installed_store
    for table in ("otel_logs", "logs_1m", "ledger"):
        client.command(f"TRUNCATE TABLE {table} SYNC")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SLUICEWAY_STORE__HTTP_PORT", running.url.rsplit(":", 1)[1])
    monkeypatch.setenv("SLUICEWAY_DATA_DIR", str(tmp_path))
    return Installation(tmp_path, running, client)


@pytest.fixture
def log(installation: Installation) -> Iterator[tuple[SqliteLogWriter, SqliteLogReader]]:
    path = installation.folder / "log" / "log.sqlite"
    writer = SqliteLogWriter(path, LogSettings())
    reader = SqliteLogReader(path, TOPIC)
    try:
        yield writer, reader
    finally:
        reader.close()
        writer.close()
