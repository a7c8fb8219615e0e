"""Alert rules as data: answers in, times of firing and resolving out; and the file that Grafana is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from dashboards.alerts.grafana import rules_file
from dashboards.alerts.rule import Rule
from dashboards.alerts.rules import RULES as FIXED
from dashboards.alerts.state import Alerts, Labels
from dashboards.files import boards
from dashboards.grafana.macros import MacroError, Range, expand
from dashboards.slo.files import read
from dashboards.slo.rules import burn_rules

ROOT = Path(__file__).resolve().parents[2]
OBJECTIVES = read(ROOT / "slos")
RULES = [*FIXED, *burn_rules(OBJECTIVES)]
BOARDS = boards(OBJECTIVES)
BY_NAME = {rule.name: rule for rule in RULES}
CART: Labels = (("service", "cart"),)
PAY: Labels = (("service", "pay"),)


def played(rule: Rule, values: str, labels: Labels = CART) -> list[tuple[int, str]]:
    """One value an evaluation: a number, `-` for a missing row, `!` for a query that failed. (evaluation, change)."""
    alerts, changes = Alerts(rule), []
    for at, word in enumerate(values.split()):
        rows = None if word == "!" else {} if word == "-" else {labels: float(word)}
        changes += [(at, change.became) for change in alerts.evaluated(at * rule.every_s, rows)]
    return changes


@pytest.mark.parametrize(
    ("name", "values", "changes"),
    [
        # 180 s without a batch, at once; resolved 120 s after it is below 90.
        ("telemetry-blind", "10 179 181 361 20 15 12 10", [(2, "firing"), (6, "resolved")]),
        ("telemetry-blind", "10 - - 10 10 10 10", [(1, "firing"), (5, "resolved")]),
        ("telemetry-blind", "10 ! 10 10 10 10", [(1, "firing"), (4, "resolved")]),
        # Three minutes above a minute; a dip between the two bounds goes on firing.
        ("pipeline-behind", "10 70 80 20 70 80 90 95", [(7, "firing")]),
        ("pipeline-behind", "70 70 70 70 50 40 65 10 10 10", [(3, "firing"), (9, "resolved")]),
        # The store restarts while it fires: no answer, no resolution.
        ("pipeline-behind", "70 70 70 70 ! ! ! ! ! 70", [(3, "firing")]),
        ("service-silent", "0 1 3 4 7 0 0 0", [(3, "firing"), (7, "resolved")]),
        # Its row is gone: resolved at the third time.
        ("service-silent", "6 7 - - 8 - - -", [(0, "firing"), (7, "resolved")]),
        ("dead-letters", "0 0 3 3 0 0", [(2, "firing"), (4, "resolved")]),
        ("ledger-imbalance", "0 12 0", [(1, "firing"), (2, "resolved")]),
        ("deployment-regression", "0 9 0 9 9 9 1 1 1 1 1 1", [(5, "firing"), (11, "resolved")]),
        ("cardinality", "0 400 400 0 0 0", [(1, "firing"), (5, "resolved")]),
        ("pipeline-refusing", "1 1 1 1 1 0 0 0 0", []),
        ("deployment-slower", "1 2.5 1 2.5 2.5 2.5 1 1 1 1 1 1", [(4, "firing"), (11, "resolved")]),
        ("error-spike", "1 5 5 5 3 1 1 1 1 1 1", [(2, "firing"), (10, "resolved")]),
        ("dependency-failing", "5 1 5 5 1 1 1 1 1 1", [(3, "firing"), (9, "resolved")]),
        ("saturation", "0.9 0.96 0.92 0.8 0.8 0.8 0.8 0.8 0.8", [(1, "firing"), (8, "resolved")]),
        ("log-flood", "1 11 6 4 1 1 1 1 1", [(1, "firing"), (8, "resolved")]),
        ("latency-anomaly", "3 3 3 1 1 1", [(2, "firing"), (5, "resolved")]),
        ("slo-burn-page", "0.5 1.1 2 0.95 0.8 0.8 0.8 0.8 0.8 0.8", [(1, "firing"), (9, "resolved")]),
        ("slo-burn-ticket", "1 1.2 0.5 0.5 0.5", [(1, "firing"), (4, "resolved")]),
        ("rate-anomaly", "4 4 4 2.5 1 1 1 1", [(2, "firing"), (6, "resolved")]),
    ],
)
def test_a_rule_fires_and_resolves_when_it_should(name: str, values: str, changes: list[tuple[int, str]]) -> None:
    assert played(BY_NAME[name], values) == changes


def test_alerts_of_one_rule_are_apart() -> None:
    alerts = Alerts(BY_NAME["service-silent"])
    assert [change.labels for change in alerts.evaluated(0, {CART: 9.0, PAY: 0.0})] == [CART]
    assert [change.labels for change in alerts.evaluated(60, {CART: 10.0, PAY: 9.0})] == [PAY]
    assert set(alerts.firing) == {CART, PAY}


def test_an_alert_that_was_firing_before_a_restart_goes_on_and_waits_for_nothing() -> None:
    rule = BY_NAME["pipeline-behind"]
    alerts = Alerts(rule)
    alerts.recall(CART, 90.0, -600.0)
    assert alerts.evaluated(0, {CART: 70.0, PAY: 70.0}) == []
    assert alerts.firing == {CART: 70.0}
    assert [(of.labels, of.started_s) for of in alerts.pending] == [(PAY, 0)]
    # Records that come back late make no alert pending that fires.
    alerts.recall(CART, 70.0, -60.0, "pending")
    assert set(alerts.firing) == {CART}
    changes = [change for at_s in (60, 120, 180) for change in alerts.evaluated(at_s, {CART: 10.0, PAY: 70.0})]
    # The one resolves after it is kept firing, the other fires after its wait; both know since when they hold.
    assert [(c.labels, c.became, c.started_s) for c in changes] == [(CART, "resolved", -600), (PAY, "firing", 0)]


def test_what_is_no_number_neither_fires_nor_resolves() -> None:
    assert played(BY_NAME["dead-letters"], "nan nan 3 nan nan 0") == [(2, "firing"), (5, "resolved")]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_has_a_runbook_a_panel_and_bounds_that_do_not_flap(rule: Rule) -> None:
    runbook = (ROOT / "docs" / "runbooks" / f"{rule.name}.md").read_text("utf-8")
    assert "## What to look at" in runbook
    board = next(board for board in BOARDS if board.uid == rule.board)
    assert rule.panel in {panel["title"] for panel in json.loads(board.json())["panels"]}
    assert rule.resolves_below <= rule.above or (rule.above, rule.resolves_below) == (0, 1)
    assert rule.range_s >= rule.every_s >= 60
    expand(rule.query, Range(0, 3600), in_alert=True)


def test_exactly_one_rule_fires_when_nothing_answers() -> None:
    assert [rule.name for rule in RULES if rule.on_error == "alerting"] == ["telemetry-blind"]
    assert [rule.name for rule in RULES if rule.on_no_rows == "alerting"] == ["telemetry-blind"]


def test_the_file_has_what_grafana_needs() -> None:
    file = yaml.safe_load(rules_file(RULES, BOARDS, "https://example.org/runbooks/"))
    rules = {rule["uid"]: rule for group in file["groups"] for rule in group["rules"]}
    assert set(rules) == {rule.uid for rule in RULES}
    for rule in RULES:
        written = rules[rule.uid]
        assert written["annotations"]["runbook_url"] == f"https://example.org/runbooks/{rule.name}.md"
        assert written["annotations"]["__panelId__"] == str(written["panelId"])
        assert written["execErrState"] in ("KeepLast", "Alerting")
        assert not any("$" in str(label) for label in written["labels"].values())
        query, threshold = written["data"]
        assert query["model"]["format"] == 1
        assert threshold["model"]["expression"] == "A"
    assert (
        "{{ $labels.service }} has sent no span for {{ $values.A.Value }} minutes"
        in (rules["sluiceway-service-silent"]["annotations"]["summary"])
    )


def test_a_panel_that_does_not_exist_and_a_browsers_macro_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    with pytest.raises(ValueError, match="no panel 'Nothing' in sluiceway-pipeline"):
        rules_file([replace(BY_NAME["dead-letters"], panel="Nothing")], BOARDS, "x")
    monkeypatch.setattr(Rule, "query", property(lambda _: "SELECT $service"))
    with pytest.raises(MacroError, match="alert"):
        rules_file([BY_NAME["dead-letters"]], BOARDS, "x")
