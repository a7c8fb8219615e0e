"""Incident records: what is kept, by whom it is written, and what happens to alerts when the file is away."""

from __future__ import annotations

import math
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dashboards.alerts.durations import duration_s, written
from dashboards.alerts.incident import Incident, medians
from dashboards.alerts.incidents import IncidentFile, PendingOf
from dashboards.alerts.state import Pending
from schemas.errors import RecordsUnavailableError
from tests.command_line import run

NOW_S = 1_800_000_000.0


def incident(id_: str, detected_s: float = NOW_S, **fields: object) -> Incident:
    made = Incident(
        id_, "service-silent", (("service", "cart"),), "page", "service", "shop", "cart is silent", 6.0, 6.0,
        detected_s - 60, detected_s,
    )  # fmt: skip
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@pytest.fixture
def records(tmp_path: Path) -> IncidentFile:
    return IncidentFile(tmp_path / "data" / "incidents.sqlite", create=True)


def test_a_record_comes_back_as_it_was(records: IncidentFile) -> None:
    written_ = incident("a1", trace="0a", escalation=2, value=math.inf, peak=math.inf)
    records.save([written_])
    records.close()
    assert records.untold() == [written_]


def test_over_and_told_of_is_history_and_the_rest_is_not(records: IncidentFile) -> None:
    records.save([
        incident("open"), incident("over", restored_s=NOW_S + 60),
        incident("told", restored_s=NOW_S + 60, over_told=True),
    ])  # fmt: skip
    assert {i.id for i in records.untold()} == {"open", "over"}
    assert {i.id for i in records.since(NOW_S + 61)} == {"open"}
    assert {i.id for i in records.since(NOW_S + 30)} == {"open", "over", "told"}


def test_an_acknowledgement_of_another_process_stands(records: IncidentFile, tmp_path: Path) -> None:
    ours = incident("a1")
    records.save([ours])
    with IncidentFile(tmp_path / "data" / "incidents.sqlite") as other:
        assert other.acknowledge("a1", NOW_S + 5, "Ida")
        assert not other.acknowledge("a1", NOW_S + 9, "Sam")
    # The evaluator does not know of it yet.
    ours.peak = 9.0
    records.save([ours])
    ours.acknowledged_s, ours.acknowledged_by = NOW_S + 20, "a silence"
    records.save([ours])
    [kept] = records.untold()
    assert (kept.acknowledged_s, kept.acknowledged_by, kept.peak) == (NOW_S + 5, "Ida", 9.0)
    assert records.acknowledged(["a1", "a2"]) == {"a1": (NOW_S + 5, "Ida")}


def test_what_is_over_is_not_acknowledged(records: IncidentFile) -> None:
    records.save([incident("a1", restored_s=NOW_S + 60)])
    assert not records.acknowledge("a1", NOW_S + 70, "Ida")


def test_records_are_forgotten_when_they_are_old_and_never_while_they_are_open(records: IncidentFile) -> None:
    records.save([incident("old", restored_s=NOW_S, over_told=True), incident("open", NOW_S - 9_000_000)])
    records.save([incident("new", NOW_S + 100)], forget_before_s=NOW_S + 1)
    assert {i.id for i in records.since(0)} == {"open", "new"}


@pytest.mark.parametrize("content", [b"no database at all, but long enough to be one" * 99, None])
def test_a_file_of_another_kind_is_refused_and_left_alone(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "incidents.sqlite"
    if content is None:
        connection = sqlite3.connect(file)
        connection.execute("CREATE TABLE others (x)")
        connection.close()
    else:
        file.write_bytes(content)
    before = file.read_bytes()
    with pytest.raises(RecordsUnavailableError, match=r"incidents\.sqlite are unavailable"):
        IncidentFile(file, create=True).untold()
    assert file.read_bytes() == before


def test_what_is_pending_takes_the_place_of_what_was(records: IncidentFile) -> None:
    cart, pay = (PendingOf("pipeline-behind", Pending((("signal", s),), 70.0, NOW_S), NOW_S + 60) for s in "ab")
    records.save_pending([cart])
    records.save_pending([pay])
    records.close()
    assert records.pending() == [pay]


def test_only_the_evaluator_makes_the_file(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnavailableError):
        IncidentFile(tmp_path / "incidents.sqlite").untold()
    assert list(tmp_path.iterdir()) == []


def test_times_are_counted_from_the_condition_and_from_the_alert() -> None:
    one = incident("a1", acknowledged_s=NOW_S + 30, restored_s=NOW_S + 240)
    assert (one.to_detect_s, one.to_acknowledge_s, one.to_restore_s) == (60, 30, 300)
    open_ = incident("a2", started_s=NOW_S - 20)
    assert (open_.to_detect_s, open_.to_acknowledge_s, open_.to_restore_s) == (20, None, None)
    found = medians([one, open_, incident("a3", started_s=NOW_S, acknowledged_s=NOW_S + 90)])
    assert (found.detect_s, found.acknowledge_s, found.restore_s) == (20, 60, 300)
    assert medians([]).restore_s is None


def test_a_peak_only_grows_and_what_is_no_number_is_none() -> None:
    one = incident("a1")
    assert [one.seen(value) for value in (5.0, 7.0, math.nan, 6.0)] == [False, True, False, False]
    assert (one.value, one.peak) == (6.0, 7.0)


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("90s", 90), ("15m", 900), ("4h", 14400), ("2w", 1209600)])
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-5m", "1.5h", "15 m", "15m\n", "٣m", "99999d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must be a number and s, m, h, d or w"):
        duration_s(text)


def test_a_duration_is_written_in_its_two_largest_units() -> None:
    assert [written(seconds) for seconds in (None, 0, 59.6, 3600, 3661, 90_061, -3)] == [
        "-", "0s", "1m", "1h", "1h 1m", "1d 1h", "0s",
    ]  # fmt: skip


def test_the_commands_list_acknowledge_and_count(
    records: IncidentFile, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    now_s = time.time()
    over = replace(incident("beef0001", now_s - 3600), restored_s=now_s - 3000, over_told=True, acknowledged_s=now_s)
    records.save([incident("cafe0001", now_s - 60), over, incident("cafe0002", now_s - 90, escalation=1)])
    data = ("--data-dir", str(tmp_path / "data"))
    assert run("alerts", "list", *data) == 0
    listed = capsys.readouterr().out
    assert "cafe0001" in listed
    assert "escalated 1 times" in listed
    assert "beef0001" not in listed
    assert run("alerts", "ack", "cafe", "--by", "Ida", *data) == 2
    assert "several incidents begin so; got 'cafe'" in capsys.readouterr().err
    assert run("alerts", "ack", "cafe0001", "--by", "Ida", *data) == 0
    assert "cafe0001 (service-silent of cart) is acknowledged by Ida" in capsys.readouterr().out
    assert run("alerts", "ack", "cafe0001", "--by", "Sam", *data) == 2
    assert "cafe0001 is acknowledged by Ida" in capsys.readouterr().err
    assert run("alerts", "ack", "beef", "--by", "Sam", *data) == 2
    assert "beef0001 is over" in capsys.readouterr().err
    assert run("alerts", "ack", "0", "--by", "Sam", *data) == 2
    assert "must be the id of an incident; got '0'" in capsys.readouterr().err
    assert run("alerts", "incidents", "--since", "1d", *data) == 0
    assert "3 incidents in 1d, 2 open; median time to detect 1m, to acknowledge" in capsys.readouterr().out
    assert run("alerts", "incidents", "--since", "soon", *data) == 2
    assert "--since: must be a number and s, m, h, d or w, such as 15m; got 'soon'" in capsys.readouterr().err


def test_the_commands_say_nothing_where_nothing_was_recorded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ("--data-dir", str(tmp_path))
    assert run("alerts", "list", *data) == 0
    assert run("alerts", "incidents", *data) == 0
    assert "0 incidents in 7d, 0 open; median time to detect -" in capsys.readouterr().out
    assert run("alerts", "ack", "a", "--by", "Ida", *data) == 2
    assert list(tmp_path.iterdir()) == []
