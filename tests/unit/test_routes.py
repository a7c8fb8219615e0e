"""One list of routes, two targets: Alertmanager's own tool routes by both files, and both name the same receivers."""

from __future__ import annotations

import datetime as dt
import json
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts import routes
from dashboards.alerts.configuration import configuration
from dashboards.alerts.contacts import contacts_file
from dashboards.alerts.owners import Owners
from schemas.errors import ConfigurationError
from sluiceway.cli import main
from tests.real_parts import skip_where_missing
from tests.testbed.alertmanager import check

PAGES = {"webhook_url": "https://pager.example.org/$team?a=1"}
TICKETS = {"slack_url_file": "/run/secrets/slack"}
HOURS = {"days": ["monday", "friday"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin"}
FILE: dict[str, Any] = {
    "platform": "infra",
    "default": "shop",
    "teams": {
        "infra": {"dri": "Ida $5 {{ .Boom }}", "page": {"pagerduty_key_file": "/run/secrets/pd"}, "ticket": TICKETS},
        "shop": {
            "dri": "Sam", "page": PAGES, "ticket": TICKETS, "escalate_to": "payments", "escalate_after": "15m",
        },
        "payments": {
            "dri": "Pia", "page": PAGES, "ticket": TICKETS, "hours": HOURS, "outside_hours": "infra",
            "escalate_to": "chiefs", "escalate_after": "1h",
        },
        "chiefs": {"dri": "Cleo", "page": PAGES, "ticket": TICKETS},
    },
    "services": {
        "payment": "payments", "fraud.check": "payments", "cart": "shop", 'a "quoted" one': "infra", "cash$": "infra",
        "$HOME": "payments", "back\\slash": "payments",
    },
}  # fmt: skip
OWNERS = Owners.model_validate(FILE)
SERVICES = ["", "new", "fraudxcheck", *FILE["services"]]
ALERTS = [
    {"severity": severity, "owner": owner, "service": service}
    for severity, owner, service in product(("page", "ticket"), ("platform", "service"), SERVICES)
]
ESCALATED = [
    {"severity": "page", "owner": "service", "service": service, "escalation": level}
    for service, level in product(("new", "cart", "payment"), ("1", "2"))
]
CHAINS = {"shop": ["payments", "chiefs"], "payments": ["chiefs", "payments"]}
# A Friday, in Berlin at noon and at seven in the evening.
NOON, EVENING = (dt.datetime(2026, 11, 27, hour, tzinfo=dt.UTC) for hour in (11, 18))


def expanded(value: Any) -> Any:
    """As Grafana reads a provisioned value on a machine without such variables; files are left as they are."""
    match value:
        case str():
            assert "$" not in value.replace("$$", "").replace("$__file{", "")
            return value.replace("$$", "$")
        case dict():
            return {key: expanded(inner) for key, inner in value.items()}
        case list():
            return [expanded(inner) for inner in value]
    return value


def as_an_alertmanagers(text: str) -> str:
    """Grafana's file in an Alertmanager's words: the same tree, with receivers that lead nowhere."""
    file = yaml.safe_load(text)
    [policy] = expanded(file["policies"])
    del policy["orgId"]
    for route in policy["routes"]:
        route["matchers"] = [f"{name} {sign} {json.dumps(value)}" for name, sign, value in route.pop("object_matchers")]
    return yaml.safe_dump({
        "route": policy,
        "receivers": [{"name": point["name"]} for point in expanded(file["contactPoints"])],
        "time_intervals": [{key: of[key] for key in ("name", "time_intervals")} for of in file["muteTimes"]],
    })  # fmt: skip


def routed(configuration_file: Path, labels: dict[str, str]) -> list[str]:
    command = ["amtool", "config", "routes", "test", f"--config.file={configuration_file}"]
    quoted = [f"{name}={json.dumps(value)}" for name, value in labels.items() if value]
    ran = subprocess.run([*command, *quoted], capture_output=True, text=True, check=True)
    return ran.stdout.strip().split(",")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("routes")
    ours, grafanas = folder / "alertmanager.yml", folder / "grafana.yml"
    ours.write_text(configuration(OWNERS))
    grafanas.write_text(as_an_alertmanagers(contacts_file(OWNERS)))
    with skip_where_missing():
        assert "SUCCESS" in check(ours)
        assert "SUCCESS" in check(grafanas)
    return ours, grafanas


@pytest.mark.parametrize("labels", [*ALERTS, *ESCALATED], ids=lambda labels: "-".join(labels.values()))
def test_both_targets_route_an_alert_to_its_team(files: tuple[Path, Path], labels: dict[str, str]) -> None:
    team = OWNERS.team_of(labels["owner"], labels["service"])
    if "escalation" in labels:
        # A level that a chain does not have is the team's own.
        team = CHAINS[team][int(labels["escalation"]) - 1]
    hours = labels["severity"] == "page" and OWNERS.teams[team].hours is not None
    # One of the two is muted at any time.
    expected = ["payments-page", "infra-page"] if hours else [f"{team}-{labels['severity']}"]
    assert [routed(file, labels) for file in files] == [expected, expected]
    now = {route.receiver for route in routes.Router(OWNERS).told(labels, NOON)}
    later = {route.receiver for route in routes.Router(OWNERS).told(labels, EVENING)}
    assert (now, later) == ({expected[0]}, {expected[-1]})


def test_grafana_is_given_each_receiver_with_secrets_from_files() -> None:
    file = yaml.safe_load(contacts_file(OWNERS))
    points = {point["name"]: point["receivers"] for point in file["contactPoints"]}
    assert set(points) == {f"{team}-{severity}" for team in FILE["teams"] for severity in ("page", "ticket")}
    [pagerduty] = points["infra-page"]
    assert pagerduty["type"] == "pagerduty"
    assert pagerduty["settings"]["integrationKey"] == "$__file{/run/secrets/pd}"
    assert pagerduty["settings"]["details"]["dri"] == 'Ida $$5 {{ "{{" }} .Boom }}'
    [slack] = points["shop-ticket"]
    assert slack["settings"]["url"] == "$__file{/run/secrets/slack}"
    [webhook] = points["shop-page"]
    assert webhook["settings"] == {"url": "https://pager.example.org/$$team?a=1", "httpMethod": "POST"}
    uids = [receiver["uid"] for receivers in points.values() for receiver in receivers]
    assert len(set(uids)) == len(uids)
    # Who was paged is told that it is over.
    assert not any(receiver["disableResolveMessage"] for receivers in points.values() for receiver in receivers)


def test_a_long_teams_name_still_makes_a_uid_that_grafana_takes() -> None:
    long = FILE | {"teams": FILE["teams"] | {"x" * 63: FILE["teams"]["shop"]}}
    file = yaml.safe_load(contacts_file(Owners.model_validate(long)))
    uids = [receiver["uid"] for point in file["contactPoints"] for receiver in point["receivers"]]
    assert max(map(len, uids)) <= 40
    assert len(set(uids)) == len(uids)


@pytest.mark.parametrize("name", ["/run/$x", "/run/}x"])
def test_a_secrets_file_that_grafana_cannot_be_told_is_refused_by_field(name: str) -> None:
    shop = FILE["teams"]["shop"] | {"ticket": {"slack_url_file": name}}
    owners = Owners.model_validate(FILE | {"teams": FILE["teams"] | {"shop": shop}})
    with pytest.raises(ConfigurationError, match=r"^teams\.shop\.ticket\.slack_url_file: must have no \$ and no \}"):
        contacts_file(owners)


def test_blindness_inhibits_the_rest_and_a_page_its_ticket() -> None:
    blind = {"rule": "telemetry-blind", "severity": "page"}
    page, ticket, other = (
        {"rule": "x", "service": service, "severity": severity}
        for severity, service in (("page", "cart"), ("ticket", "cart"), ("ticket", "pay"))
    )
    assert [routes.Inhibitor([blind]).inhibits(labels) for labels in (page, ticket, blind)] == [True, True, False]
    by_page = routes.Inhibitor([page])
    assert [by_page.inhibits(labels) for labels in (page, ticket, other, blind)] == [False, True, False, False]


def test_the_command_writes_where_grafana_and_alertmanager_look(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    owners = tmp_path / "owners.yaml"
    owners.write_text(yaml.safe_dump(FILE, sort_keys=False))
    for target, name in (("grafana", "alerting/sluiceway-routes.yaml"), ("alertmanager", "alertmanager.yml")):
        with pytest.raises(SystemExit, match="0"):
            main(["alerts", "routes", "--owners", str(owners), "--format", target, "--to", str(tmp_path / "to")])
        assert f"wrote {tmp_path / 'to' / name}" in capsys.readouterr().out
    assert (tmp_path / "to" / "alerting" / "sluiceway-routes.yaml").read_text() == contacts_file(OWNERS)
    assert (tmp_path / "to" / "alertmanager.yml").read_text() == configuration(OWNERS)
