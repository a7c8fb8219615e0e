"""Plays the rules over stored time, as the evaluator does over the wall clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from clickhouse_connect.driver.client import Client

from dashboards.alerts.owners import Owners
from dashboards.alerts.rule import Rule
from dashboards.alerts.state import NO_DATA, Alerts, Labels
from dashboards.grafana.macros import Range, expand

# When it fires, the pages of other rules are inhibited.
_BLIND = "telemetry-blind"


@dataclass(frozen=True, slots=True)
class Page:
    """One page: when (Unix seconds), which rule, to which team, and all that it says."""

    at_s: int
    rule: str
    team: str
    says: str


def pages(
    client: Client,
    rules: Sequence[Rule],
    owners: Owners,
    from_s: int,
    to_s: int,
    *,
    step_s: int,
    say: Callable[[int], None] = lambda _: None,
) -> Iterator[Page]:
    """The pages between two whole minutes.

    Each evaluation is a second before a minute is over, so that none of its spans is from the future.
    """
    alerts = [Alerts(rule) for rule in rules if rule.severity == "page"]
    for minute_s in range(from_s, to_s + 1, step_s):
        now_s = minute_s - 1
        say(now_s)
        found = [
            _page(client, of_rule.rule, owners, change.labels, change.value, now_s)
            for of_rule in alerts
            for change in of_rule.evaluated(now_s, _rows(client, of_rule.rule, now_s))
            if change.became == "firing"
        ]
        blind = any(each.rule.name == _BLIND and each.firing for each in alerts)
        yield from (page for page in found if not blind or page.rule == _BLIND)


def _rows(client: Client, rule: Rule, now_s: int) -> dict[Labels, float]:
    answer = client.query(expand(rule.query, Range(now_s - rule.range_s, now_s), in_alert=True))
    names = answer.column_names[:-1]
    return {
        tuple((name, str(value)) for name, value in zip(names, row[:-1], strict=True)): float(row[-1])
        for row in answer.result_rows
    }


def _page(client: Client, rule: Rule, owners: Owners, labels: Labels, value: float, now_s: int) -> Page:
    of = dict(labels)
    summary = rule.summary if labels != NO_DATA else rule.title
    for name, text in (*of.items(), ("value", f"{value:.4g}")):
        summary = summary.replace(f"{{{name}}}", text)
    culprit = ""
    if rule.culprit_query is not None:
        over = Range(now_s - rule.range_s, now_s, variables=of)
        rows = client.query(expand(rule.culprit_query, over)).result_rows
        culprit = f" {rows[0][0]}" if rows else ""
    return Page(now_s, rule.name, owners.team_of(rule.owner, of.get("service")), summary + culprit)
