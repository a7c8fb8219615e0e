"""`sluiceway audit` on a real SQLite log and a real ClickHouse server, beside other logs too."""

from __future__ import annotations

import json

import pytest

from ingest.sqlite_log import SqliteLogWriter
from processors.sqlite_log import SqliteLogInspector, SqliteLogReader
from schemas.settings import RetentionSettings
from sluiceway.audit_read import read_until_still
from tests.command_line import run
from tests.installation_under_test import TOPIC, Installation, append, commit


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


@pytest.mark.parametrize(("rows", "code"), [(2, 1), (3, 0), (4, 2)], ids=["too few", "as many", "more"])
def test_a_batch_of_another_log_under_way_is_not_taken_for_rows_too_many(
    rows: int, code: int, installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader]
) -> None:
    """What the other log has frozen cannot be read from here; what its ledger says was stored has to be there."""
    writer, reader = log
    append(writer, 5)
    installation.insert(5)
    installation.book(reader.log_id(), 0, 0, stored=5)
    commit(reader, 0)
    installation.insert(rows)
    installation.book("another", 0, 0, stored=3)

    assert run("audit", "--timeout", "0.5") == code


def test_rows_too_many_are_told_once_the_other_log_is_quiet(
    installation: Installation, log: tuple[SqliteLogWriter, SqliteLogReader]
) -> None:
    writer, reader = log
    append(writer, 5)
    commit(reader, 0)
    installation.book(reader.log_id(), 0, 0, stored=5)
    installation.book("another", 0, 0, stored=3)
    installation.insert(10)
    looks_s: list[float] = [0]

    def look_later(_: float) -> None:
        looks_s.append(looks_s[-1] + 4)
        if len(looks_s) == 3:
            installation.book("another", 1, 1, stored=1)

    inspector = SqliteLogInspector(installation.folder / "log" / "log.sqlite")
    report = read_until_still(
        inspector, installation.writer, RetentionSettings(), timeout_s=60, clock=lambda: looks_s[-1], pause=look_later
    )
    inspector.close()

    assert {(line.hop, line.difference) for line in report.lines if line.difference} == {("store", 1)}
    # The first look, one beside a batch, and four over the sixteen seconds after it.
    assert looks_s == [0, 4, 8, 12, 16, 20, 24]


def test_without_a_log_the_audit_cannot_tell(installation: Installation, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("audit") == 2
    assert capsys.readouterr().err.startswith("sluiceway: no log at ")
