"""A push into Grafana: what is sent, what is not, what is removed, and what is said when it fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dashboards.files import BOARDS, alert_groups, datasource
from dashboards.grafana.api import Grafana, GrafanaError
from dashboards.grafana.push import Pushed, push
from schemas.errors import ConfigurationError
from tests import command_line
from tests.grafana_api_server import GrafanaApi

TOKEN = "glsa_of_tests"
SOURCE = datasource("store.example.org", 8123, "otel", "default")
FILES = [json.loads(board.json()) for board in BOARDS]
GROUPS = alert_groups(())


@pytest.fixture
def server() -> Iterator[GrafanaApi]:
    with GrafanaApi(TOKEN) as running:
        yield running


def pushed(server: GrafanaApi, boards: list[Any] = FILES, groups: list[Any] = GROUPS, **more: bool) -> list[Pushed]:
    return list(push(Grafana(server.url, TOKEN, sleep=lambda _: None), SOURCE, boards, groups, **more))


def test_all_is_created_once_and_nothing_is_sent_again(server: GrafanaApi) -> None:
    first = pushed(server)
    assert {done.became for done in first} == {"created"}
    assert len(first) == 2 + len(FILES) + len(GROUPS)
    assert set(server.dashboards) == {board.uid for board in BOARDS}
    assert server.datasources["clickhouse"]["jsonData"]["host"] == "store.example.org"
    server.writes.clear()
    assert {done.became for done in pushed(server)} == {"same"}
    assert server.writes == []


def test_what_changed_on_either_side_is_made_equal_again_and_nothing_else(server: GrafanaApi) -> None:
    pushed(server)
    server.writes.clear()
    server.dashboards["sluiceway-fleet"]["dashboard"]["panels"][0]["title"] = "somebody's"
    changed = copy.deepcopy(GROUPS)
    changed[0]["rules"][0]["for"] = "7s"
    became = {done.name: done.became for done in pushed(server, groups=changed) if done.became != "same"}
    assert became == {"sluiceway-fleet": "updated", changed[0]["name"]: "updated"}
    assert len(server.writes) == 2
    assert server.dashboards["sluiceway-fleet"]["dashboard"]["panels"][0]["title"] == FILES[0]["panels"][0]["title"]


def test_a_label_that_a_rule_lost_is_taken_away_from_the_server_too(server: GrafanaApi) -> None:
    more = copy.deepcopy(GROUPS)
    more[0]["rules"][0]["labels"]["old"] = "yes"
    pushed(server, groups=more)
    [changed] = [done for done in pushed(server) if done.became != "same"]
    assert changed == Pushed("updated", "rules", GROUPS[0]["name"])
    assert all("old" not in rule["labels"] for group in server.groups.values() for rule in group["rules"])


def test_a_dashboard_that_was_moved_comes_back(server: GrafanaApi) -> None:
    pushed(server)
    server.dashboards["sluiceway-logs"]["meta"]["folderUid"] = "theirs"
    assert [done for done in pushed(server) if done.became != "same"] == [
        Pushed("updated", "dashboard", "sluiceway-logs")
    ]


def test_only_what_is_ours_and_gone_is_pruned_and_only_when_asked(server: GrafanaApi) -> None:
    pushed(server)
    ours = {"dashboard": {"tags": ["sluiceway"], "version": 1}, "meta": {"folderUid": "sluiceway"}}
    untagged = {"dashboard": {"tags": [], "version": 1}, "meta": {"folderUid": "sluiceway"}}
    elsewhere = {"dashboard": {"tags": ["sluiceway"], "version": 1}, "meta": {"folderUid": "theirs"}}
    server.dashboards |= {"sluiceway-old": ours, "theirs": ours, "sluiceway-x": untagged, "sluiceway-y": elsewhere}
    rule = {"folderUID": "sluiceway"}
    server.groups["sluiceway", "sluiceway every 7 s"] = {"rules": [{**rule, "ruleGroup": "sluiceway every 7 s"}]}
    server.groups["sluiceway", "team"] = {"rules": [{**rule, "ruleGroup": "team"}]}
    assert {done.became for done in pushed(server)} == {"same"}
    assert [done for done in pushed(server, prune=True) if done.became != "same"] == [
        Pushed("pruned", "dashboard", "sluiceway-old"),
        Pushed("pruned", "rules", "sluiceway every 7 s"),
    ]
    assert {"theirs", "sluiceway-x", "sluiceway-y"} <= set(server.dashboards)
    assert ("sluiceway", "team") in server.groups


def test_a_server_that_is_busy_is_asked_again(server: GrafanaApi) -> None:
    server.fails = [503, 429, 502]
    assert {done.became for done in pushed(server)} == {"created"}


def test_a_server_that_stays_busy_or_away_ends_the_push(server: GrafanaApi) -> None:
    server.fails = [503] * 6
    with pytest.raises(GrafanaError, match="GET /api/folders/sluiceway: 503: not now"):
        pushed(server)
    away = Grafana("http://127.0.0.1:9", TOKEN, sleep=lambda _: None)
    with pytest.raises(GrafanaError, match=r"http://127\.0\.0\.1:9 does not answer"):
        away.ask("GET", "/folders/x")


@pytest.mark.parametrize(("status", "why"), [(401, "token is not known"), (403, "role Admin"), (400, "not now")])
def test_a_refusal_says_what_is_needed_and_is_not_tried_again(server: GrafanaApi, status: int, why: str) -> None:
    server.fails = [status]
    with pytest.raises(GrafanaError, match=why):
        pushed(server)
    assert server.writes == []


def test_what_is_written_and_not_found_is_a_failure(server: GrafanaApi) -> None:
    server.refuses = "PUT"
    with pytest.raises(GrafanaError, match=r"PUT /api/v1/provisioning.*404: not found"):
        pushed(server)


@pytest.mark.parametrize("status", [200, 404, 403])
@pytest.mark.parametrize("text", [b"<html>sign in</html>", b"a message of a proxy", b""])
def test_a_server_that_is_no_grafana_is_said_to_be_none_and_is_sent_nothing(
    server: GrafanaApi, monkeypatch: pytest.MonkeyPatch, status: int, text: bytes
) -> None:
    monkeypatch.setattr(server, "answer", lambda *_: (status, text))
    with pytest.raises(GrafanaError, match="role Admin" if status == 403 else "no JSON; is a Grafana there"):
        pushed(server)
    assert server.writes == []


def test_a_deletion_that_something_in_front_refuses_is_no_deletion(
    server: GrafanaApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed(server)
    answer = server.answer
    refused = (502, b"<html>message: bad gateway</html>")
    monkeypatch.setattr(
        server, "answer", lambda method, *rest: refused if method == "DELETE" else answer(method, *rest)
    )
    with pytest.raises(GrafanaError, match=r"DELETE .*502: no JSON"):
        pushed(server, boards=FILES[1:], prune=True)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="--url must be http"):
        Grafana("grafana.example.org", TOKEN)


def run(*arguments: str) -> int:
    return command_line.run("dashboards", "push", *arguments)


def test_the_command_shows_each_object_and_never_the_token(
    server: GrafanaApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    assert run("--url", server.url, "--token-file", "token") == 0
    said = capsys.readouterr()
    assert "created  dashboard   sluiceway-fleet" in said.out
    assert f"{2 + len(FILES) + len(GROUPS)} created" in said.out
    monkeypatch.setenv("GRAFANA_TOKEN", TOKEN + "x")
    assert run("--url", server.url) == 2
    again = capsys.readouterr()
    assert "token is not known" in again.err
    assert TOKEN not in said.out + said.err + again.out + again.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "http://grafana.example.org"], "--insecure allows it"),
        (["--url", "https://grafana.example.org", "--token-file", "none"], "--token-file must be readable"),
        (["--url", "https://grafana.example.org"], "GRAFANA_TOKEN: must hold"),
    ],
)
def test_what_is_not_safe_or_not_there_is_refused_before_anything_is_sent(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRAFANA_TOKEN", raising=False)
    if "grafana.example.org" in arguments[1] and "http://" in arguments[1]:
        monkeypatch.setenv("GRAFANA_TOKEN", TOKEN)
    assert run(*arguments) == 2
    assert said in capsys.readouterr().err
