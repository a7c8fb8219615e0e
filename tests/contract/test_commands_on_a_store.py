"""The commands that read log and store, on a real SQLite log and a real ClickHouse server."""

from __future__ import annotations

import csv
import io
import json
import re
import time
from pathlib import Path

import pytest

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogReader
from schemas.log import DeadLetter
from tests.command_line import run
from tests.conftest import free_port
from tests.installation_under_test import TOPIC, Installation, append, commit


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
        ("SELECT 1 FRM x y", "Syntax error: failed at position"),
        ("SELECT nope FROM otel_traces", "UNKNOWN_IDENTIFIER"),
        ("INSERT INTO otel_logs (TenantId) VALUES ('x')", "a reader's statement begins with"),
        ("DROP TABLE otel_logs", "a reader's statement begins with"),
        ("SELECT * FROM file('/etc/passwd', 'LineAsString')", "'file' is a function that readers do not have"),
        ("SELECT throwIf(number = 90000) FROM numbers(100000) SETTINGS max_block_size = 1000", "FUNCTION_THROW_IF"),
    ],
)
def test_what_the_store_refuses_is_told_in_our_words_in_one_line(
    sql: str, error: str, installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("query", sql) == 2
    shown = capsys.readouterr()

    assert shown.out == ""
    assert shown.err.startswith("sluiceway: store: ")
    assert not re.search(r"Code: |DB::|Exception|version|https?:|\d+\.\d+\.\d+|:\d{4}|Stack", shown.err)
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
