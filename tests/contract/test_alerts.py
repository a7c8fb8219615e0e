"""From rows in a real store over a real Alertmanager to the pager of the team that owns the service, and back."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from dashboards.alerts.configuration import configuration
from dashboards.alerts.evaluate import Evaluator
from dashboards.alerts.incidents import IncidentFile
from dashboards.alerts.notice import notice
from dashboards.alerts.owners import Owners
from dashboards.alerts.rule import Rule
from dashboards.alerts.rules import RULES
from dashboards.settings import AlertSettings
from processors.store_client import connect
from tests.real_parts import skip_where_missing
from tests.rows_in_store import Database
from tests.testbed.alertmanager import Alertmanager, Pager, check

BY_NAME = {rule.name: rule for rule in RULES}


class Clock:
    """The wall clock, which a test moves on."""

    began_s = 0

    def __init__(self) -> None:
        self.now_s = float(Clock.began_s)

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture(autouse=True)
def _begin() -> None:
    # An alert that ended before an Alertmanager hears of it is none.
    Clock.began_s = int(time.time())


def at_once(name: str) -> Rule:
    """The rule, evaluated at each turn and over at once."""
    return replace(BY_NAME[name], every_s=0, for_s=0, keep_firing_s=0)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[IncidentFile]:
    with IncidentFile(tmp_path / "incidents.sqlite", create=True) as file:
        yield file


@pytest.fixture
def pager() -> Iterator[Pager]:
    with Pager() as running:
        yield running


def owners(pager: Pager) -> Owners:
    def team(name: str) -> dict[str, Any]:
        return {
            "dri": name.title(),
            "page": {"webhook_url": f"{pager.url}/{name}/page"},
            "ticket": {"webhook_url": f"{pager.url}/{name}/ticket"},
        }

    shop = team("shop") | {"escalate_to": "leads", "escalate_after": "3s"}
    return Owners.model_validate({
        "teams": {"infra": team("infra"), "shop": shop, "leads": team("leads")},
        "platform": "infra", "default": "shop",
    })  # fmt: skip


@pytest.fixture
def alertmanager(tmp_path: Path, pager: Pager) -> Iterator[Alertmanager]:
    found = owners(pager)
    written = tmp_path / "alertmanager.yml"
    # A test does not wait for what keeps storms away.
    text = (
        configuration(found)
        .replace("group_wait: 30s", "group_wait: 1s")
        .replace("group_interval: 5m", "group_interval: 1s")
    )
    written.write_text(text)
    with skip_where_missing():
        check(written)
    with Alertmanager(tmp_path / "alertmanager", written) as running:
        yield running


def evaluator(
    tables: Database,
    alertmanager: Alertmanager,
    clock: Clock,
    records: IncidentFile,
    *names: str,
    owned: Owners | None = None,
) -> Evaluator:
    settings = AlertSettings(
        alertmanager_url=alertmanager.url,
        resend_s=1,
        link_url="http://viewer.example.org",
        runbooks_url="http://runbooks.example.org",
    )

    def reader() -> Any:
        client = tables.connect()
        client.database = tables.name
        return client

    return Evaluator(reader, settings, [at_once(name) for name in names], records, owned, clock)


def wait_for(reached: Callable[[], Any]) -> Any:
    deadline_s = time.monotonic() + 60
    while not (found := reached()):
        assert time.monotonic() < deadline_s
        time.sleep(0.1)
    return found


def spans(
    tables: Database, service: str, minutes: range, *, version: str = "1", failed: int = 0, calls: int = 10
) -> None:
    """`calls` spans of a service in each of these minutes before now, so many of them failed."""
    tables.client.command(
        f"INSERT INTO {tables.name}.otel_traces (Timestamp, TraceId, SpanId, SpanName, SpanKind, ServiceName,"
        " ServiceVersion, Environment, StatusCode, Duration)"
        f" SELECT toDateTime64({Clock.began_s} - 60 * minute.number, 9),"
        f" lower(hex(sipHash128('{service}', minute.number, call.number))), '00000000000000aa', 'GET /', 'Server',"
        f" '{service}', '{version}', 'prod',"
        f" if(call.number < {failed}, 'Error', 'Unset'), 1000000"
        f" FROM numbers({minutes.start}, {len(minutes)}) AS minute CROSS JOIN numbers({calls}) AS call"
    )


def fell_silent(tables: Database, service: str) -> None:
    """Ten minutes ago, while another goes on."""
    spans(tables, service, range(10, 80))
    spans(tables, "goes on", range(80))


def ledger(tables: Database, age_s: int) -> None:
    tables.client.command(
        f"INSERT INTO {tables.name}.ledger (Time, LogId, Signal, TableName, Received, Stored)"
        f" VALUES ({Clock.began_s - age_s}, 'log', 'traces', '', 1, 0),"
        f" ({Clock.began_s - age_s}, 'log', 'traces', 'otel_traces', 0, 1)"
    )


def test_a_silent_service_pages_its_team_and_resolves_with_its_runbook(
    tables: Database, alertmanager: Alertmanager, pager: Pager, records: IncidentFile
) -> None:
    clock = Clock()
    fell_silent(tables, "cart")
    watching = evaluator(tables, alertmanager, clock, records, "service-silent")
    watching.turn()
    [(path, page)] = wait_for(lambda: list(pager.posts))
    assert path == "/shop/page"
    [alert] = page["alerts"]
    assert (alert["status"], alert["labels"]["service"], alert["labels"]["severity"]) == ("firing", "cart", "page")
    assert "cart has sent no span for" in alert["annotations"]["summary"]
    assert alert["annotations"]["runbook_url"] == "http://runbooks.example.org/service-silent.md"
    assert alert["annotations"]["dashboard_url"].startswith("http://viewer.example.org/service/cart?from=")

    spans(tables, "cart", range(2))
    clock.now_s += 2
    watching.turn()
    _, resolved = wait_for(lambda: pager.posts[1:] and pager.posts[-1])
    [alert] = resolved["alerts"]
    assert alert["status"] == "resolved"
    assert alert["annotations"]["runbook_url"] == "http://runbooks.example.org/service-silent.md"


def test_a_bad_release_pages_with_a_failed_trace_of_it(
    tables: Database, alertmanager: Alertmanager, pager: Pager, records: IncidentFile
) -> None:
    spans(tables, "cart", range(20, 50), version="1", failed=0)
    spans(tables, "cart", range(20), version="2", failed=3)
    evaluator(tables, alertmanager, Clock(), records, "deployment-regression").turn()
    [(path, page)] = wait_for(lambda: list(pager.posts))
    assert path == "/shop/page"
    [alert] = page["alerts"]
    assert (alert["labels"]["version"], alert["labels"]["previous"]) == ("2", "1")
    trace = alert["annotations"]["trace_url"].removeprefix("http://viewer.example.org/trace/")
    [row] = tables.ask(
        "SELECT ServiceVersion, StatusCode FROM {db}.otel_traces WHERE TraceId = {trace:String}", trace=trace
    )
    assert row == {"ServiceVersion": "2", "StatusCode": "Error"}


def test_a_good_release_and_a_failing_dependency_page_nobody_by_deployment(
    tables: Database, alertmanager: Alertmanager, records: IncidentFile
) -> None:
    spans(tables, "cart", range(20, 50), version="1", failed=3)
    spans(tables, "cart", range(20), version="2", failed=3)
    spans(tables, "pay", range(20, 50), version="1")
    spans(tables, "pay", range(20), version="2")
    watching = evaluator(tables, alertmanager, Clock(), records, "deployment-regression")
    watching.turn()
    assert alertmanager.alerts() == []


def test_telemetry_blind_pages_the_platform_and_inhibits_the_rest(
    tables: Database, alertmanager: Alertmanager, pager: Pager, records: IncidentFile
) -> None:
    clock = Clock()
    ledger(tables, 900)
    fell_silent(tables, "cart")
    # What began longer ago than the group's wait is sent at once, even before what inhibits it is heard of, and what is
    # not told again is over for the Alertmanager after a while. Told a minute ahead, neither happens meanwhile.
    clock.now_s = time.time() + 60
    evaluator(tables, alertmanager, clock, records, "telemetry-blind", "service-silent").turn()
    held = wait_for(lambda: len(alertmanager.alerts()) == 2 and alertmanager.alerts())
    of = {alert["labels"]["rule"]: alert for alert in held}
    assert of["service-silent"]["status"]["inhibitedBy"] == [of["telemetry-blind"]["fingerprint"]]
    wait_for(lambda: pager.posts)
    # It would have come with the same wait.
    time.sleep(3)
    assert {path for path, _ in pager.posts} == {"/infra/page"}


def test_a_store_that_is_away_pages_the_platform_and_resolves_nothing(
    tables: Database, alertmanager: Alertmanager, pager: Pager, records: IncidentFile
) -> None:
    clock = Clock()
    ledger(tables, 0)
    fell_silent(tables, "cart")
    away = False

    def reader() -> Any:
        if away:
            return connect("http://127.0.0.1:9")
        client = tables.connect()
        client.database = tables.name
        return client

    watching = evaluator(tables, alertmanager, clock, records, "telemetry-blind", "service-silent")
    watching._connect = reader
    watching.turn()
    wait_for(lambda: pager.posts)
    away = True
    assert watching._client is not None
    watching._client.close()
    watching._client = None
    for _ in range(5):
        clock.now_s += 2
        watching.turn()
    held = {alert["labels"]["rule"]: alert for alert in alertmanager.alerts()}
    assert set(held) == {"telemetry-blind", "service-silent"}
    assert "does not answer" in held["telemetry-blind"]["annotations"]["summary"]


def test_an_alertmanager_that_is_away_is_told_when_it_is_back(
    tables: Database, tmp_path: Path, records: IncidentFile
) -> None:
    clock = Clock()
    fell_silent(tables, "cart")
    written = tmp_path / "alertmanager.yml"
    written.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    with skip_where_missing():
        late = Alertmanager(tmp_path / "late", written)
    watching = evaluator(tables, late, clock, records, "service-silent")
    watching.turn()
    with late:
        clock.now_s += 2
        watching.turn()
        assert [alert["labels"]["service"] for alert in late.alerts()] == ["cart"]


def silence(alertmanager: Alertmanager, by: str, **labels: str) -> None:
    body = {
        "matchers": [{"name": n, "value": v, "isRegex": False, "isEqual": True} for n, v in labels.items()],
        "startsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time())),
        "endsAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600)),
        "createdBy": by,
        "comment": "I am on it",
    }
    asked = Request(
        f"{alertmanager.url}/api/v2/silences", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urlopen(asked, timeout=30) as answer:
        assert answer.status == 200


def test_a_page_that_nobody_takes_reaches_the_next_teams_pager(
    tables: Database, alertmanager: Alertmanager, pager: Pager, records: IncidentFile
) -> None:
    clock = Clock()
    fell_silent(tables, "cart")
    watching = evaluator(tables, alertmanager, clock, records, "service-silent", owned=owners(pager))
    watching.turn()
    wait_for(lambda: pager.posts)
    clock.now_s += 4
    watching.turn()
    path, page = wait_for(lambda: pager.posts[1:] and pager.posts[-1])
    assert path == "/leads/page"
    assert page["alerts"][0]["labels"]["escalation"] == "1"
    [kept] = records.untold()
    assert (kept.team, kept.escalation, kept.acknowledged_s) == ("shop", 1, None)

    spans(tables, "cart", range(2))
    clock.now_s += 2
    watching.turn()
    wait_for(
        lambda: {path for path, post in pager.posts if post["status"] == "resolved"} == {"/shop/page", "/leads/page"}
    )


def test_a_silence_acknowledges_and_stops_the_escalation(
    tables: Database, alertmanager: Alertmanager, pager: Pager, records: IncidentFile
) -> None:
    clock = Clock()
    fell_silent(tables, "cart")
    watching = evaluator(tables, alertmanager, clock, records, "service-silent", owned=owners(pager))
    watching.turn()
    wait_for(lambda: pager.posts)
    silence(alertmanager, "Sam of shop", service="cart", rule="service-silent")
    clock.now_s += 4
    watching.turn()
    [kept] = records.untold()
    assert (kept.acknowledged_by, kept.escalation) == ("Sam of shop", 0)
    assert kept.acknowledged_s is not None
    assert Clock.began_s - 5 <= kept.acknowledged_s <= time.time() + 5
    # An escalation would have come with the same wait.
    time.sleep(3)
    assert {path for path, _ in pager.posts} == {"/shop/page"}


def test_a_restart_pages_nobody_again_and_the_end_is_told_with_the_runbook(
    tables: Database, alertmanager: Alertmanager, pager: Pager, records: IncidentFile, tmp_path: Path
) -> None:
    clock = Clock()
    fell_silent(tables, "cart")
    evaluator(tables, alertmanager, clock, records, "service-silent").turn()
    wait_for(lambda: pager.posts)
    [before] = records.untold()
    records.close()

    clock.now_s += 30
    with IncidentFile(tmp_path / "incidents.sqlite", create=True) as again:
        watching = evaluator(tables, alertmanager, clock, again, "service-silent")
        watching._watched["service-silent"].alerts.rule = replace(BY_NAME["service-silent"], every_s=0, for_s=600)
        watching.turn()
        [state] = watching.states
        # Neither pending again, nor another incident.
        assert state.pending == ()
        assert [(i.id, i.detected_s) for i in state.firing] == [(before.id, before.detected_s)]
        time.sleep(3)
        assert len(pager.posts) == 1
        assert len(alertmanager.alerts()) == 1

        spans(tables, "cart", range(2))
        watching._watched["service-silent"].alerts.rule = at_once("service-silent")
        clock.now_s += 2
        watching.turn()
        _, resolved = wait_for(lambda: pager.posts[1:] and pager.posts[-1])
        assert resolved["status"] == "resolved"
        assert resolved["alerts"][0]["annotations"]["runbook_url"].endswith("/service-silent.md")
        [kept] = again.since(0)
        assert (kept.id, kept.restored_s, kept.over_told) == (before.id, clock.now_s, True)


@pytest.mark.parametrize(("away_s", "since_s"), [(120, 0), (600, 600)])
def test_what_was_pending_waits_on_after_a_restart_unless_it_was_long(
    tables: Database, alertmanager: Alertmanager, records: IncidentFile, away_s: int, since_s: int
) -> None:
    clock = Clock()
    fell_silent(tables, "cart")
    for at_s in (0, away_s):
        clock.now_s = Clock.began_s + at_s
        watching = evaluator(tables, alertmanager, clock, records, "service-silent")
        watching._watched["service-silent"].alerts.rule = replace(BY_NAME["service-silent"], for_s=600)
        watching._response._rules = {"service-silent": BY_NAME["service-silent"]}
        watching.turn()
    [state] = watching.states
    assert (state.firing, [of.started_s - Clock.began_s for of in state.pending]) == ((), [since_s])


def test_an_alert_is_called_by_the_fingerprint_that_the_alertmanager_gives_it(
    tables: Database, alertmanager: Alertmanager, records: IncidentFile
) -> None:
    fell_silent(tables, 'çart "x"')
    watching = evaluator(tables, alertmanager, Clock(), records, "service-silent")
    watching.turn()
    [held] = alertmanager.alerts()
    [state] = watching.states
    [incident] = state.firing
    made = notice(at_once("service-silent"), incident, AlertSettings(), ends_at_s=0)
    assert (dict(made.labels), made.fingerprint) == (held["labels"], held["fingerprint"])
