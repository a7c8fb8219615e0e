"""The users of a deployed store, laid into the `users.d` of a real server: what they may do, and what they may not."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from processors import schema
from processors.store_client import connect
from schemas.settings import RetentionSettings, StoreSettings
from sluiceway.embedded import child
from sluiceway.embedded.folder import StoreFolder
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.embedded.users import READERS
from sluiceway.server_users import READER_PASSWORD, WRITER_PASSWORD
from tests.conftest import free_port
from tests.deployment.images import ROOT

FILES = ROOT / "k8s" / "base" / "clickhouse"
ACCESS_DENIED, READONLY, SETTING_CONSTRAINT_VIOLATION = 497, 164, 452


# The server out of the wheel has users of the file's names already.
WRITER, READER = "deployed_sluiceway", "deployed_reader"


def renamed(text: str) -> str:
    for name in ("sluiceway", *READERS):
        text = text.replace(f"<{name}>", f"<deployed_{name}>").replace(f"</{name}>", f"</deployed_{name}>")
    return text


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    folder = tmp_path_factory.mktemp("server")
    configuration = StoreFolder(folder)
    configuration.create()
    for name, place in (("users.xml", "users.d"), ("config.xml", "config.d")):
        (configuration.server / place).mkdir(parents=True)
        (configuration.server / place / "sluiceway.xml").write_text(renamed((FILES / name).read_text()))
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(WRITER_PASSWORD, "of the writer")
        environment.setenv(READER_PASSWORD, "of the reader")
        environment.setattr(child, "KEPT_VARIABLES", (*child.KEPT_VARIABLES, WRITER_PASSWORD, READER_PASSWORD))
        with EmbeddedStore(folder, StoreSettings(http_port=free_port(), database="unused")) as running:
            yield running


@pytest.fixture(scope="module")
def writer(server: EmbeddedStore) -> Iterator[Client]:
    client = connect(server.url, user=WRITER, password="of the writer", database=None)
    schema.apply(client, "otel", RetentionSettings())
    yield client
    client.close()


@pytest.fixture
def reader(server: EmbeddedStore, writer: Client) -> Iterator[Client]:
    client = connect(server.url, user=READER, password="of the reader", database="otel", read_only=True)
    yield client
    client.close()


def refusal(client: Client, statement: str) -> int | None:
    with pytest.raises(DatabaseError) as refused:
        client.command(statement)
    return refused.value.code


def test_the_writer_makes_and_mends_the_schema_and_writes(writer: Client) -> None:
    assert schema.apply(writer, "otel", RetentionSettings()) == []
    # Another retention alters every table, as a new version of ours may.
    assert schema.apply(writer, "otel", RetentionSettings(traces_days=3, logs_days=3, metrics_days=3, rollups_days=3))
    writer.command("INSERT INTO otel.otel_logs (Timestamp, ServiceName, Body) VALUES (now64(9), 'users', 'x')")
    assert writer.command("SELECT count() FROM otel.otel_logs") == 1
    # Through the view, as the writer.
    assert writer.command("SELECT count() FROM otel.logs_1m") == 1


def test_the_writer_is_held_to_our_database(writer: Client) -> None:
    assert refusal(writer, "CREATE DATABASE elsewhere") == ACCESS_DENIED
    assert refusal(writer, "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')") == ACCESS_DENIED
    assert refusal(writer, "CREATE USER other") == ACCESS_DENIED
    assert writer.command("SELECT getSetting('deduplicate_blocks_in_dependent_materialized_views')") == "true"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO otel.otel_logs (Body) VALUES ('x')",
        "DROP TABLE otel.otel_logs",
        "CREATE TABLE otel.made (a Int8) ENGINE = Memory",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT * FROM system.users",
        "SELECT 1 SETTINGS readonly = 0",
    ],
)
def test_the_reader_only_reads(reader: Client, statement: str) -> None:
    assert refusal(reader, statement) in (ACCESS_DENIED, READONLY)


def test_the_reader_lowers_its_limits_and_cannot_lift_them(reader: Client) -> None:
    assert reader.command("SELECT count() FROM otel.otel_traces SETTINGS max_execution_time = 5") == 0
    assert refusal(reader, "SELECT 1 SETTINGS max_execution_time = 3600") == SETTING_CONSTRAINT_VIOLATION
    assert refusal(reader, "SELECT 1 SETTINGS max_memory_usage = 0") == SETTING_CONSTRAINT_VIOLATION
    # Grafana's plugin asks for its deadline and five seconds more.
    assert reader.command("SELECT 1 SETTINGS max_execution_time = 65") == 1


def test_the_reader_changes_no_setting_but_the_named(reader: Client) -> None:
    for name in ("output_format_schema", "format_schema", "max_parser_depth", "http_max_tries"):
        assert refusal(reader, f"SELECT 1 SETTINGS {name} = '1'") == READONLY


@pytest.mark.parametrize("user", [WRITER, *(f"deployed_{name}" for name in READERS)])
def test_nobody_gets_in_without_the_password(server: EmbeddedStore, user: str) -> None:
    for password in ("", "wrong"):
        with pytest.raises(Exception, match="AUTHENTICATION_FAILED"):
            connect(server.url, user=user, password=password, database=None)


def test_the_server_knows_every_name_of_its_own_file(server: EmbeddedStore) -> None:
    # The server out of the wheel merges no config.d, so that the names are looked up instead.
    everything = connect(server.url, user=server.writer_user, password=server.writer_password, database=None)
    try:
        known = {
            table: {row[0] for row in everything.query(f"SELECT name FROM system.{table}").result_rows}
            for table in ("server_settings", "merge_tree_settings")
        }
    finally:
        everything.close()
    ours = ET.parse(FILES / "config.xml").getroot()  # noqa: S314

    assert {element.tag for element in ours} - known["server_settings"] == {
        "access_control_improvements", "logger", "merge_tree", "timezone",
    }  # fmt: skip
    assert {element.tag for element in ours.iterfind("merge_tree/*")} <= known["merge_tree_settings"]


def test_the_files_hold_no_password() -> None:
    for name in ("users.xml", "config.xml"):
        root = ET.parse(FILES / name).getroot()  # noqa: S314
        passwords = [element for element in root.iter() if "password" in element.tag]
        assert [element.text for element in passwords if (element.text or "").strip()] == []
    environment = {element.get("from_env") for element in ET.parse(FILES / "users.xml").getroot().iter("password")}  # noqa: S314
    assert environment == {WRITER_PASSWORD, READER_PASSWORD}
