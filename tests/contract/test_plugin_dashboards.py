"""The dashboards that come with Grafana's ClickHouse plugin for OpenTelemetry run on our tables.

Their files are not ours to keep: `PLUGIN_DASHBOARDS` names the folder `src/dashboards` of a checkout of
github.com/grafana/clickhouse-datasource.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dashboards.grafana.macros import Range, expand
from tests.running_pipeline import Pipeline, demo_done

pytestmark = pytest.mark.grafana
# Panels about what the demo's checkout does not do.
EMPTY = {"Top Error Messages", "Top Errors"}


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    with demo_done(tmp_path_factory.mktemp("plugin"), 20, telemetry=False) as running:
        yield running


def files() -> list[dict[str, Any]]:
    folder = os.environ.get("PLUGIN_DASHBOARDS", "")
    assert folder, "PLUGIN_DASHBOARDS must name the plugin's folder src/dashboards"
    found = [json.loads(file.read_text("utf-8")) for file in sorted(Path(folder).glob("otel-*.json"))]
    assert found, f"{folder}: has no otel-*.json"
    return found


def panels(of: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for panel in of:
        yield panel
        yield from panels(panel.get("panels", []))


def test_every_query_of_every_dashboard_answers_with_data(pipeline: Pipeline) -> None:
    over = Range(pipeline.from_ms // 1000, int(time.time()) + 60, 60)
    asked = 0
    for file in files():
        variables: dict[str, str | list[str]] = {}
        for variable in file["templating"]["list"]:
            if variable["type"] == "textbox":
                variables[variable["name"]] = ""
            elif variable["type"] == "query":
                sql = expand(variable["query"]["rawSql"], replace(over, variables=variables))
                values = [str(row[0]) for row in pipeline.ask(sql)]
                assert values, variable["name"]
                several = variable.get("includeAll") or variable.get("multi")
                variables[variable["name"]] = values if several else "checkout"
        # A panel that is repeated for each service gets one of them.
        for panel in panels(file["panels"]):
            mine = {**variables, "service": "checkout"} if "'${service}'" in json.dumps(panel) else variables
            for target in panel.get("targets", []):
                rows = pipeline.ask(expand(target["rawSql"], replace(over, variables=mine)))
                title = panel.get("title", "")
                assert rows or any(each in title for each in ("Internal", "Async")) or title in EMPTY, (
                    file["title"],
                    title,
                )
                asked += 1
    assert asked >= 30
