"""The commands that read log and store, on a real SQLite log and a real ClickHouse server."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from schemas.ddl import definitions
from schemas.log import DeadLetter, Entry
from schemas.settings import LogSettings, RetentionSettings, StoreSettings
from schemas.signals import NAMES, Signal
from sluiceway.cli import main
from sluiceway.embedded.store import EmbeddedStore
from tests.conftest import free_port

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


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmbeddedStore, Client]]:
    port = free_port()
    settings = StoreSettings(http_port=port)
    with EmbeddedStore(tmp_path_factory.mktemp("store"), settings) as running:
        client = clickhouse_connect.get_client(
            host="127.0.0.1",
            port=port,
            username=running.writer_user,
            password=running.writer_password,
            database="otel",
            autogenerate_session_id=False,
        )
        for definition in definitions("otel", RetentionSettings()):
            client.command(definition.create)
        try:
            yield running, client
        finally:
            client.close()


@pytest.fixture
def installation(store: tuple[EmbeddedStore, Client], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    running, client = store
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


def run(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)


def append(writer: SqliteLogWriter, items: int, value: bytes = b"x") -> None:
    writer.append([Entry(TOPIC, value, "shop", time.time_ns(), items=items)])


def commit(reader: SqliteLogReader, last: int, *dead: DeadLetter) -> None:
    reader.freeze(0, last)
    reader.commit(0, dead)


def test_query_prints_a_table(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", "SELECT 'cart' AS ServiceName, 42 AS n, NULL AS x;") == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["ServiceName", "n", "x"],
        ["cart", "42", "ᴺᵁᴸᴸ"],
    ]


def test_query_prints_json_and_csv_that_others_can_read(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    sql = "SELECT number AS n, concat('a,\"', toString(number)) AS s FROM numbers(3)"
    assert run("query", sql, "--format", "json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert run("query", sql, "--format", "csv") == 0
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))

    assert [row["s"] for row in rows] == [row["s"] for row in table] == ['a,"0', 'a,"1', 'a,"2']


def test_a_format_named_in_the_statement_is_passed_on(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("query", "SELECT 1 AS a, 2 AS b FORMAT TSVWithNames") == 0
    assert capsys.readouterr().out == "a\tb\n1\t2\n"


def test_a_table_stops_at_its_bound_and_says_so(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("query", "SELECT number FROM numbers(100000)", "--max-rows", "5") == 0
    shown = capsys.readouterr()

    assert shown.out.split() == ["number", "0", "1", "2", "3", "4"]
    assert shown.err == "only the first 5 rows; --max-rows shows more, --format csv all\n"


def test_values_cannot_send_control_characters_to_the_terminal(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("query", "SELECT '\\x1b[31mred' AS v, '[bold]x[/bold]' AS w") == 0
    shown = capsys.readouterr().out

    assert "\x1b" not in shown
    assert "\\x1b[31mred" in shown
    assert "[bold]x[/bold]" in shown


@pytest.mark.parametrize(
    ("sql", "error"),
    [
        ("SELEC 1", "Syntax error: failed at position 7"),
        ("SELECT nope FROM otel_traces", "UNKNOWN_IDENTIFIER"),
        ("INSERT INTO otel_logs (TenantId) VALUES ('x')", "Not enough privileges"),
        ("DROP TABLE otel_logs", "Not enough privileges"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "Not enough privileges"),
        ("SELECT throwIf(number = 90000) FROM numbers(100000) SETTINGS max_block_size = 1000", "FUNCTION_THROW_IF"),
    ],
)
def test_what_the_store_refuses_is_its_own_error_in_one_line(
    sql: str, error: str, installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("query", sql) == 2
    shown = capsys.readouterr()

    assert shown.out == ""
    assert shown.err.startswith("sluiceway: store: Code: ")
    assert error in shown.err
    assert shown.err.count("\n") == 1


def test_without_a_store_query_says_how_to_start_one(
    installation: Installation, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    port = free_port()
    monkeypatch.setenv("SLUICEWAY_STORE__HTTP_PORT", str(port))

    assert run("query", "SELECT 1") == 2
    assert capsys.readouterr().err == (
        f"sluiceway: store: nothing answers at 127.0.0.1:{port}; start it with `sluiceway up`\n"
    )


def audit_lines(capsys: pytest.CaptureFixture[str]) -> dict[tuple[str, str], dict[str, object]]:
    report = json.loads(capsys.readouterr().out)
    return {(line["hop"], line["place"]): line for line in report["lines"]}


def test_the_audit_balances_what_was_stored_and_what_is_in_flight(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = log
    append(writer, 5)
    append(writer, 7)
    installation.insert(5)
    installation.book(reader.log_id(), 0, 0, stored=5)
    commit(reader, 0)

    assert run("audit", "--json") == 0
    lines = audit_lines(capsys)
    assert {key: line["actual"] for key, line in lines.items()} == {
        ("ingest", TOPIC): 12,
        ("log", TOPIC): 12,
        ("log", f"{TOPIC}/0 offsets"): 1,
        ("processors", TOPIC): 5,
        ("store", "otel_logs"): 5,
        ("rollups", "logs_1m of otel_logs"): 5,
    }
    assert lines["log", TOPIC]["in_flight"] == 7


def test_a_batch_that_is_written_but_not_committed_does_not_disturb_the_audit(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = log
    append(writer, 5)
    reader.freeze(0, 0)
    installation.insert(5)
    installation.book(reader.log_id(), 0, 0, stored=5)

    assert run("audit", "--json", "--timeout", "0") == 0
    assert audit_lines(capsys)["store", "otel_logs"]["actual"] == 5


def test_a_batch_that_is_partly_inserted_cannot_be_told(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = log
    append(writer, 5)
    reader.freeze(0, 0)
    installation.insert(3)

    assert run("audit", "--timeout", "0") == 2
    assert "cannot be told: a batch was under way" in capsys.readouterr().out


@pytest.mark.parametrize(("rows", "difference"), [(4, -1), (6, 1)])
def test_one_row_lost_or_doubled_is_an_imbalance(
    rows: int, difference: int, installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    writer, reader = log
    append(writer, 5)
    installation.insert(rows)
    installation.book(reader.log_id(), 0, 0, stored=5)
    commit(reader, 0)

    assert run("audit", "--json") == 1
    lines = [line for line in audit_lines(capsys).values() if line["difference"]]
    assert [(line["hop"], line["tenant"], line["difference"]) for line in lines] == [("store", "shop", difference)]
    assert run("audit") == 1
    assert "IMBALANCED: 1 of" in capsys.readouterr().out


def test_a_batch_that_is_missing_from_the_ledger_is_an_imbalance(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = log
    append(writer, 5)
    commit(reader, 0)

    assert run("audit", "--json") == 1
    assert audit_lines(capsys)["log", TOPIC]["difference"] == -5


@pytest.mark.parametrize(
    ("second", "difference"),
    [((2, 2), -1), ((0, 1), 1)],
    ids=["a batch between two others is missing", "one record is in two batches"],
)
def test_every_offset_is_in_one_batch(
    second: tuple[int, int], difference: int, installation: Installation,
    log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    _, reader = log
    installation.book(reader.log_id(), 0, 0, stored=5)
    installation.book(reader.log_id(), *second, stored=5)

    assert run("audit", "--json", "--timeout", "0") == 1
    assert audit_lines(capsys)["log", f"{TOPIC}/0 offsets"]["difference"] == difference


def test_what_another_log_filled_the_store_with_counts_as_stored_and_not_as_received(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = log
    append(writer, 5)
    installation.insert(5)
    installation.book(reader.log_id(), 0, 0, stored=5)
    installation.insert(2)
    installation.book("another", 0, 0, stored=2)
    commit(reader, 0)

    assert run("audit", "--json") == 0
    lines = audit_lines(capsys)
    assert (lines["log", TOPIC]["actual"], lines["store", "otel_logs"]["actual"]) == (5, 7)


def test_without_a_log_the_audit_cannot_tell(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit") == 2
    assert capsys.readouterr().err.startswith("sluiceway: no log at ")


def test_dead_letters_are_listed_shown_saved_and_redriven_once(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str]
) -> None:
    writer, reader = log
    append(writer, 3, b"\x00bad\x1b[31m")
    record = reader.read(0, 0, max_records=1, max_bytes=1000)[0]
    installation.book(reader.log_id(), 0, 0, stored=0, dead=3)
    commit(reader, 0, DeadLetter(record, "malformed", "offset 1: tag 0", time.time_ns()))

    assert run("deadletters", "list") == 0
    listed = capsys.readouterr().out.splitlines()[1].split()
    number = listed[0]
    assert listed[1] == "waits"
    assert {"logs", "shop", f"{TOPIC}/0/0", "malformed"} <= set(listed)
    assert run("deadletters", "show", number) == 0
    shown = capsys.readouterr().out
    assert "message:      offset 1: tag 0" in shown
    assert "00 62 61 64 1b 5b 33 31 6d" in shown
    assert "\x1b" not in shown
    assert run("deadletters", "show", number, "--save", "bad.bin") == 0
    assert Path("bad.bin").read_bytes() == b"\x00bad\x1b[31m"
    capsys.readouterr()

    assert run("audit", "--json") == 0
    assert json.loads(capsys.readouterr().out)["waiting_dead_letters"] == [
        {"signal": "logs", "tenant": "shop", "records": 1}
    ]

    assert run("deadletters", "redrive", "logs", number) == 0
    assert capsys.readouterr().out == "1 redriven\n"
    assert run("deadletters", "redrive", "logs", number) == 2
    assert "1 of 1 ids do not wait" in capsys.readouterr().err
    assert reader.end_offset(0) == 2
    assert run("audit") == 0


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["redrive", "logs"], "ids: must be given, or --all instead; got neither"),
        (["redrive", "logs", "1", "--all"], "ids: must be given, or --all instead; got both"),
        (["show", "99"], "ID: must be the id of a dead letter; got 99"),
        (["redrive", "spans"], "'spans' is not one of 'traces', 'metrics', 'logs'"),
    ],
)
def test_wrong_arguments_about_dead_letters_are_refused_in_one_line(
    arguments: list[str], error: str, installation: Installation, log: object, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("deadletters", *arguments) == 2
    shown = capsys.readouterr().err
    assert error in shown
    assert shown.count("\n") == 1


def test_doctor_sees_store_and_log(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader], capsys: pytest.CaptureFixture[str]
) -> None:
    append(log[0], 3)
    run("doctor")
    lines = capsys.readouterr().out.splitlines()

    assert [line for line in lines if line.startswith("ok    store        answers in ")] != []
    assert any(line.startswith("ok    log ") and "3 items in flight, 0 dead letters" in line for line in lines)
