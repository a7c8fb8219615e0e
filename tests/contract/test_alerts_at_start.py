"""The first evaluations of a pipeline that has stored nothing yet."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from dashboards.alerts.evaluate import Evaluator
from dashboards.alerts.incidents import IncidentFile
from dashboards.alerts.rules import RULES
from dashboards.settings import AlertSettings
from tests.rows_in_store import Database


def test_a_first_start_pages_nobody(tables: Database, tmp_path: Path) -> None:
    def reader():  # type: ignore[no-untyped-def]
        client = tables.connect()
        client.database = tables.name
        return client

    rules = [replace(rule, every_s=0) for rule in RULES]
    with IncidentFile(tmp_path / "incidents.sqlite", create=True) as records:
        watching = Evaluator(reader, AlertSettings(evaluate=True), rules, records)
        watching.start()
        deadline_s = time.monotonic() + 60
        # The one that says that all are blind waits; all others ask, and find nothing.
        while sum(state.evaluated_s is not None for state in watching.states) < len(rules) - 1:
            assert time.monotonic() < deadline_s
            time.sleep(0.1)
        watching.stop(20)
    assert [state.rule.name for state in watching.states if state.evaluated_s is None] == ["telemetry-blind"]
    assert [state.rule.name for state in watching.states if state.firing] == []
