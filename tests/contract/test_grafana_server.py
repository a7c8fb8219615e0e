"""All of it in a real Grafana with the ClickHouse plugin, where `GRAFANA_URL` and `GRAFANA_TOKEN` (Admin) name one.

`GRAFANA_STORE` is the store's address as that Grafana reaches it, `host:port`; the demo must have run there.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from dashboards.files import BOARDS, alert_groups, datasource
from dashboards.grafana.api import Grafana
from dashboards.grafana.push import FOLDER_UID, push

pytestmark = pytest.mark.grafana


@pytest.fixture(scope="module")
def grafana() -> Grafana:
    missing = [name for name in ("GRAFANA_URL", "GRAFANA_TOKEN", "GRAFANA_STORE") if not os.environ.get(name)]
    assert not missing, f"{missing} must name a real Grafana"
    return Grafana(os.environ["GRAFANA_URL"], os.environ["GRAFANA_TOKEN"])


def pushed(grafana: Grafana) -> list[str]:
    host, _, port = os.environ["GRAFANA_STORE"].partition(":")
    source = datasource(host, int(port), "otel", "default")
    boards = [json.loads(board.json()) for board in BOARDS]
    return [done.became for done in push(grafana, source, boards, alert_groups(()), prune=True)]


def test_what_is_pushed_is_held_and_a_second_push_changes_nothing(grafana: Grafana) -> None:
    pushed(grafana)
    assert set(pushed(grafana)) == {"same"}
    for board in BOARDS:
        held = grafana.ask("GET", f"/dashboards/uid/{board.uid}")
        assert held["meta"]["folderUid"] == FOLDER_UID
    assert grafana.ask("GET", "/datasources/uid/clickhouse/health")["status"] == "OK"


def test_every_query_of_a_panel_is_answered(grafana: Grafana) -> None:
    pushed(grafana)
    failed: dict[str, Any] = {}
    for board in BOARDS:
        for panel in json.loads(board.json())["panels"]:
            queries = [
                {**target, "datasource": {"uid": "clickhouse", "type": target["datasource"]["type"]}}
                for target in panel["targets"]
                # A browser fills in variables.
                if "${" not in target["rawSql"] and "conditionalAll" not in target["rawSql"]
            ]
            if queries:
                answer = grafana.ask("POST", "/ds/query", {"from": "now-1h", "to": "now", "queries": queries})
                errors = [each["error"] for each in answer["results"].values() if each.get("error")]
                failed |= {f"{board.uid}/{panel['title']}": errors} if errors else {}
    assert failed == {}
