"""What follows an alert, told to a webhook: each once, whoever owns it, through restarts and outages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Semaphore
from typing import Any

import pytest

from dashboards.alerts.evaluate import Evaluator
from dashboards.alerts.incidents import IncidentFile
from dashboards.alerts.owners import Owners
from dashboards.alerts.response import Response
from dashboards.alerts.rules import RULES
from dashboards.alerts.state import Change
from dashboards.settings import AlertSettings
from tests.testbed.alertmanager import Pager
from tests.testbed.parts import free_ports

BY_NAME = {rule.name: rule for rule in RULES}
SILENT, BLIND = BY_NAME["service-silent"], BY_NAME["telemetry-blind"]
REGRESSION, ANOMALY = BY_NAME["deployment-regression"], BY_NAME["rate-anomaly"]
# A Friday noon, UTC.
NOW_S = 1_795_780_800.0
LEADS_NOWHERE = {"webhook_url": "https://x.example.org"}
OWNERS = Owners.model_validate({
    "platform": "infra", "default": "shop",
    "teams": {
        "infra": {"dri": "Ida", "page": LEADS_NOWHERE, "ticket": LEADS_NOWHERE},
        "chiefs": {"dri": "Cleo", "page": LEADS_NOWHERE, "ticket": LEADS_NOWHERE},
        "shop": {
            "dri": "Sam", "page": LEADS_NOWHERE, "ticket": LEADS_NOWHERE,
            "escalate_to": "leads", "escalate_after": "15m",
            "hours": {"from": "08:00", "to": "18:00"}, "outside_hours": "infra",
        },
        "leads": {
            "dri": "Lou", "page": LEADS_NOWHERE, "ticket": LEADS_NOWHERE,
            "escalate_to": "chiefs", "escalate_after": "30m",
        },
    },
})  # fmt: skip
Post = tuple[str, str, list[tuple[str, str, str]]]


class Desk:
    """A response on a file of records, which may be begun again as after a restart."""

    def __init__(self, records: Path, url: str, owners: Owners | None = OWNERS) -> None:
        self._settings = AlertSettings(
            webhook_url=url, resend_s=60, link_url="http://viewer", runbooks_url="http://runbooks"
        )
        self._path, self._owners = records, owners
        self.restart()

    def restart(self) -> None:
        self.records = IncidentFile(self._path, create=True)
        self.response = Response(self._settings, BY_NAME, self.records, self._owners)

    def turn(self, at_s: float, *, changed: bool = False) -> None:
        self.response.recall(NOW_S + at_s)
        self.response.turn(NOW_S + at_s, changed=changed)

    def fire(self, at_s: float, rule: Any = SILENT, service: str = "cart") -> None:
        self.response.recall(NOW_S + at_s)
        self.response.fired(rule, self._change(at_s, "firing", service), "")
        self.turn(at_s, changed=True)

    def resolve(self, at_s: float, rule: Any = SILENT, service: str = "cart") -> None:
        self.response.resolved(rule, self._change(at_s, "resolved", service))
        self.turn(at_s, changed=True)

    @staticmethod
    def _change(at_s: float, became: Any, service: str) -> Change:
        labels = (("service", service),) if service else ()
        return Change(NOW_S + at_s, labels, became, 6.0, NOW_S + at_s - 120)


@pytest.fixture
def pager() -> Iterator[Pager]:
    with Pager() as running:
        yield running


@pytest.fixture
def desk(tmp_path: Path, pager: Pager) -> Desk:
    return Desk(tmp_path / "incidents.sqlite", pager.url)


def posts(pager: Pager) -> list[Post]:
    """Of each post its receiver, its status, and of each alert service, escalation and status."""
    return [
        (post["receiver"], post["status"],
         [(a["labels"].get("service", ""), a["labels"].get("escalation", ""), a["status"]) for a in post["alerts"]])
        for _, post in pager.posts
    ]  # fmt: skip


def test_an_alert_is_told_once_and_again_after_hours_and_when_it_is_over(desk: Desk, pager: Pager) -> None:
    desk.fire(0, ANOMALY)
    for at_s in range(60, 4 * 3600 + 120, 60):
        desk.turn(at_s)
    assert posts(pager) == [("shop-ticket", "firing", [("cart", "", "firing")])] * 2
    desk.resolve(4 * 3600 + 180, ANOMALY)
    desk.turn(9 * 3600)
    assert posts(pager)[2:] == [("shop-ticket", "resolved", [("cart", "", "resolved")])]
    [first, *_, last] = [post for _, post in pager.posts]
    assert last["alerts"][0]["annotations"]["runbook_url"] == "http://runbooks/rate-anomaly.md"
    assert last["alerts"][0]["fingerprint"] == first["alerts"][0]["fingerprint"]
    assert first["version"] == "4"
    assert first["groupLabels"] == {"service": "cart", "rule": "rate-anomaly"}
    assert first["commonLabels"]["severity"] == "ticket"


def test_alerts_of_one_rule_and_service_come_together_and_others_apart(desk: Desk, pager: Pager) -> None:
    for labels in ((("service", "cart"), ("version", "2")), (("service", "cart"), ("version", "3"))):
        desk.response.recall(NOW_S)
        desk.response.fired(REGRESSION, Change(NOW_S, labels, "firing", 4.0, NOW_S - 120), "")
    desk.fire(0)
    assert sorted(len(alerts) for _, _, alerts in posts(pager)) == [1, 2]


def test_a_restart_pages_nobody_again_and_still_says_when_it_is_over(desk: Desk, pager: Pager) -> None:
    desk.fire(0)
    desk.restart()
    desk.turn(60)
    desk.turn(120)
    assert len(pager.posts) == 1
    assert [incident.detected_s for incident in desk.response.open] == [NOW_S]
    desk.resolve(180)
    desk.restart()
    desk.turn(240)
    assert posts(pager)[1:] == [("shop-page", "resolved", [("cart", "", "resolved")])]
    assert desk.response.open == []


def test_what_could_not_be_told_before_a_restart_is_told_after_it(tmp_path: Path) -> None:
    [port] = free_ports(1)
    desk = Desk(tmp_path / "incidents.sqlite", f"http://127.0.0.1:{port}/")
    desk.fire(0)
    [kept] = desk.records.untold()
    assert kept.open
    with Pager() as pager:
        desk._settings = desk._settings.model_copy(update={"webhook_url": pager.url})
        desk.restart()
        desk.turn(60)
        assert posts(pager) == [("shop-page", "firing", [("cart", "", "firing")])]


def test_an_end_that_could_not_be_told_before_a_restart_is_told_after_it(desk: Desk, pager: Pager) -> None:
    desk.fire(0)
    [port] = free_ports(1)
    live = desk._settings
    desk._settings = live.model_copy(update={"webhook_url": f"http://127.0.0.1:{port}/"})
    desk.restart()
    desk.turn(60)
    desk.resolve(120)
    assert [status for _, status, _ in posts(pager)] == ["firing"]
    desk._settings = live
    desk.restart()
    desk.turn(180)
    assert [status for _, status, _ in posts(pager)] == ["firing", "resolved"]
    assert desk.records.untold() == []


def test_a_page_that_nobody_takes_goes_on_to_the_next_team_and_the_one_after(desk: Desk, pager: Pager) -> None:
    desk.fire(0)
    for at_s in (14 * 60, 15 * 60, 44 * 60, 45 * 60, 60 * 60):
        desk.turn(at_s)
    assert [(receiver, alerts) for receiver, _, alerts in posts(pager)] == [
        ("shop-page", [("cart", "", "firing")]),
        ("leads-page", [("cart", "1", "firing")]),
        ("chiefs-page", [("cart", "2", "firing")]),
    ]
    assert "nobody acknowledged it at shop" in pager.posts[1][1]["alerts"][0]["annotations"]["escalated"]
    desk.resolve(61 * 60)
    assert {receiver for receiver, status, _ in posts(pager)[3:] if status == "resolved"} == {
        "shop-page", "leads-page", "chiefs-page",
    }  # fmt: skip


def test_an_acknowledged_page_and_a_ticket_go_no_further(desk: Desk, pager: Pager, tmp_path: Path) -> None:
    desk.fire(0)
    desk.fire(0, ANOMALY, "pay")
    with IncidentFile(tmp_path / "incidents.sqlite") as other:
        [page] = [incident for incident in other.untold() if incident.severity == "page"]
        other.acknowledge(page.id, NOW_S + 60, "Sam")
    desk.turn(3600)
    assert {receiver for receiver, _, _ in posts(pager)} == {"shop-page", "shop-ticket"}
    assert {incident.acknowledged_by for incident in desk.response.open} == {"Sam", ""}


def test_an_escalation_outlives_a_restart_and_is_told_once(desk: Desk, pager: Pager) -> None:
    desk.fire(0)
    desk.turn(16 * 60)
    desk.restart()
    desk.turn(17 * 60)
    desk.turn(18 * 60)
    assert [receiver for receiver, _, _ in posts(pager)] == ["shop-page", "leads-page"]


def test_outside_hours_the_other_team_is_told_and_whoever_was_told_hears_the_end(desk: Desk, pager: Pager) -> None:
    # 17:30, a quarter of an hour before escalation would; over at 18:10.
    desk.fire(5.5 * 3600)
    desk.records.acknowledge(desk.response.open[0].id, NOW_S, "Sam")
    desk.turn(6 * 3600 + 60)
    desk.resolve(6 * 3600 + 600)
    assert [(receiver, status) for receiver, status, _ in posts(pager)] == [
        ("shop-page", "firing"), ("infra-page", "firing"), ("shop-page", "resolved"), ("infra-page", "resolved"),
    ]  # fmt: skip


def test_what_blindness_inhibits_is_told_when_it_can_see_again(desk: Desk, pager: Pager) -> None:
    desk.fire(0, BLIND, "")
    desk.fire(60)
    assert [receiver for receiver, _, _ in posts(pager)] == ["infra-page"]
    desk.resolve(120, BLIND, "")
    assert posts(pager)[1:] == [
        ("infra-page", "resolved", [("", "", "resolved")]),
        ("shop-page", "firing", [("cart", "", "firing")]),
    ]


def test_what_was_inhibited_until_it_was_over_is_never_told(desk: Desk, pager: Pager) -> None:
    desk.fire(0, BLIND, "")
    desk.fire(60)
    desk.resolve(120)
    desk.turn(180)
    assert [receiver for receiver, _, _ in posts(pager)] == ["infra-page"]
    assert [incident.rule for incident in desk.records.untold()] == ["telemetry-blind"]


def test_without_owners_one_receiver_is_told_and_nothing_escalates(tmp_path: Path, pager: Pager) -> None:
    desk = Desk(tmp_path / "incidents.sqlite", pager.url, None)
    desk.fire(0)
    desk.turn(9999)
    assert [receiver for receiver, _, _ in posts(pager)] == ["sluiceway"]


def test_people_are_paged_while_records_cannot_be_kept(tmp_path: Path, pager: Pager) -> None:
    file = tmp_path / "incidents.sqlite"
    file.mkdir()
    desk = Desk(file, pager.url)
    desk.fire(0)
    desk.turn(60)
    desk.turn(16 * 60)
    assert [receiver for receiver, _, _ in posts(pager)] == ["shop-page", "leads-page"]
    file.rmdir()
    desk.turn(17 * 60)
    [kept] = desk.records.untold()
    assert (kept.detected_s, kept.escalation) == (NOW_S, 1)


def test_a_turn_that_fails_unforeseen_is_not_the_last(tmp_path: Path) -> None:
    asked = Semaphore(0)

    def connect() -> Any:
        asked.release()
        raise RuntimeError("a driver's own fault")

    with IncidentFile(tmp_path / "incidents.sqlite", create=True) as records:
        evaluator = Evaluator(connect, AlertSettings(), [replace(SILENT, every_s=0)], records)
        evaluator.start()
        assert asked.acquire(timeout=30)
        assert asked.acquire(timeout=30)
        evaluator.stop(30)


def test_a_post_that_is_refused_keeps_no_other_and_is_tried_again(desk: Desk, pager: Pager) -> None:
    pager.refuses = lambda post: post["groupLabels"]["service"] == "cart"
    desk.fire(0)
    desk.fire(0, ANOMALY, "pay")
    assert [receiver for receiver, _, _ in posts(pager)] == ["shop-ticket"]
    pager.refuses = lambda _: False
    desk.turn(60)
    assert [receiver for receiver, _, _ in posts(pager)] == ["shop-ticket", "shop-page"]


def test_a_webhook_and_an_alertmanager_are_not_both_told() -> None:
    with pytest.raises(ValueError, match="webhook_url must be left out where alertmanager_url is given"):
        AlertSettings(webhook_url="http://one", alertmanager_url="http://other")
    assert [AlertSettings(**{name: value}).evaluates for name, value in (
        ("webhook_url", "http://one"), ("alertmanager_url", "http://other"), ("evaluate", True), ("resend_s", 2),
    )] == [True, True, True, False]  # fmt: skip


def test_an_incident_of_a_rule_that_is_gone_is_closed(desk: Desk) -> None:
    desk.fire(0)
    rules = {name: rule for name, rule in BY_NAME.items() if name != SILENT.name}
    response = Response(desk._settings, rules, desk.records, OWNERS)
    assert response.recall(NOW_S + 60) == ([], [])
    response.turn(NOW_S + 60, changed=False)
    [kept] = desk.records.since(0)
    assert (kept.restored_s, kept.over_told) == (NOW_S + 60, True)
