"""Ownership files: who is told of what, checked by Alertmanager's own tool, and refused by field and rule."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from dashboards.alerts import owners
from dashboards.alerts.configuration import configuration
from schemas.errors import ConfigurationError
from tests.command_line import run
from tests.real_parts import skip_where_missing
from tests.testbed.alertmanager import check

PAGES = {"webhook_url": "http://pager.example.org/page"}
TICKETS = {"slack_url_file": "/run/secrets/slack"}
HOURS = {"days": ["monday", "friday"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin"}
ESCALATES = {"dri": "Sam", "page": PAGES, "ticket": TICKETS, "escalate_to": "infra", "escalate_after": "15m"}
FILE: dict[str, Any] = {
    "platform": "infra",
    "default": "shop",
    "teams": {
        "infra": {"dri": "Ida", "page": {"pagerduty_key_file": "/run/secrets/pd"}, "ticket": TICKETS},
        "shop": {"dri": "Sam", "page": PAGES, "ticket": TICKETS},
        "payments": {"dri": "Pia", "page": PAGES, "ticket": TICKETS, "hours": HOURS, "outside_hours": "infra"},
    },
    "services": {"payment": "payments", "fraud.check": "payments", "cart": "shop"},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "owners.yaml"
    path.write_text(yaml.safe_dump(FILE))
    return path


def test_alertmanagers_own_tool_accepts_the_routes(file: Path, tmp_path: Path) -> None:
    written = tmp_path / "alertmanager.yml"
    written.write_text(configuration(owners.read(file)))
    with skip_where_missing():
        assert "SUCCESS" in check(written)


@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ({"severity": "page", "owner": "service", "service": "cart"}, "shop-page"),
        ({"severity": "ticket", "owner": "service", "service": "cart"}, "shop-ticket"),
        ({"severity": "page", "owner": "service", "service": "unknown"}, "shop-page"),
        ({"severity": "page", "owner": "platform"}, "infra-page"),
        ({"severity": "page", "owner": "platform", "service": "cart"}, "infra-page"),
        ({"severity": "page", "owner": "service"}, "infra-page"),
        ({"severity": "ticket", "owner": "platform"}, "infra-ticket"),
        # One of the two is muted at any time.
        ({"severity": "page", "owner": "service", "service": "payment"}, "payments-page,infra-page"),
        ({"severity": "page", "owner": "service", "service": "fraud.check"}, "payments-page,infra-page"),
        ({"severity": "page", "owner": "service", "service": "fraudxcheck"}, "shop-page"),
        ({"severity": "ticket", "owner": "service", "service": "payment"}, "payments-ticket"),
    ],
)
def test_an_alert_is_routed_to_its_team(file: Path, tmp_path: Path, labels: dict[str, str], receivers: str) -> None:
    written = tmp_path / "alertmanager.yml"
    written.write_text(configuration(owners.read(file)))
    with skip_where_missing():
        check(written)
    command = ["amtool", "config", "routes", "test", f"--config.file={written}", f"--verify.receivers={receivers}"]
    ran = subprocess.run(
        [*command, *(f"{k}={v}" for k, v in labels.items())], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def changed(path: str, value: Any) -> str:
    copy: dict[str, Any] = yaml.safe_load(yaml.safe_dump(FILE))
    at, names = copy, path.split("/")
    for name in names[:-1]:
        at = at[name]
    at[names[-1]] = value
    return yaml.safe_dump(copy)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (changed("platform", "nobody"), "platform: must be one of the teams (infra, payments, shop)"),
        (changed("services/cart", "nobody"), "owners: services.cart: must be one of the teams"),
        (changed("teams/shop/page", {}), "teams.shop.page: needs a webhook_url, a pagerduty_key_file"),
        (changed("teams/shop/page", {"webhook_url": "ftp://x"}), "teams.shop.page.webhook_url: String should match"),
        (changed("teams/shop/hours", HOURS), "teams.shop: hours and outside_hours must be given together"),
        (changed("teams/payments/outside_hours", "payments"), "received 'payments', which has hours"),
        (changed("teams/payments/hours", HOURS | {"from": "19:00"}), "teams.payments.hours: from must be before to"),
        (changed("teams/payments/hours", HOURS | {"days": ["mon"]}), "hours.days: must be days of the week"),
        (changed("teams/payments/hours", HOURS | {"zone": "Berlin"}), "zone: must be a time zone such as"),
        (changed("teams/payments/hours", HOURS | {"zone": "../x"}), "must be a time zone such as Europe/Berlin"),
        (changed("teams/shop/escalate_to", "infra"), "shop: escalate_to and escalate_after must be given together"),
        (changed("teams/shop", ESCALATES | {"escalate_to": "nobody"}), "shop.escalate_to: must be one of the teams"),
        (changed("teams/shop", ESCALATES | {"escalate_after": "soon"}), "shop.escalate_after: String should match"),
        (changed("teams/shop", ESCALATES | {"escalate_after": "0m"}), "escalate_after must be longer than nothing"),
        (changed("teams/shop", ESCALATES | {"escalate_to": "shop"}), "the page already, received shop to shop"),
        (changed("teams", FILE["teams"] | {"shop": ESCALATES, "infra": ESCALATES | {"escalate_to": "shop"}}),
         "must not lead back to a team that has the page already, received infra to shop to infra"),
        (changed("teams/shop/pager", "x"), "teams.shop.pager: Extra inputs are not permitted; got 'x'"),
        ("[]", "must be a mapping of teams, services, platform and default; got []"),
        ("teams: {", "must be readable YAML"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_by_field_and_rule(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "owners.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError) as refused:
        owners.read(path)
    assert said in str(refused.value)


def test_the_command_says_to_whom_a_page_goes_on_and_after_how_long(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "owners.yaml"
    path.write_text(yaml.safe_dump(FILE | {"teams": FILE["teams"] | {
        "shop": ESCALATES | {"escalate_to": "payments"},
        "payments": FILE["teams"]["payments"] | {"escalate_to": "infra", "escalate_after": "1h"},
    }}))  # fmt: skip
    assert run("alerts", "test", "cart", "--owners", str(path)) == 0
    said = "pages that nobody acknowledges: from shop, after 15m to payments: Pia, after 1h 15m to infra: Ida"
    assert said in capsys.readouterr().out
    assert run("alerts", "test", "payment", "--owners", str(path)) == 0
    assert "from payments, after 1h to infra: Ida" in capsys.readouterr().out


def test_the_command_names_the_rules_of_a_services_objectives(
    tmp_path: Path, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slos = str(Path(__file__).resolve().parents[2] / "slos")
    assert run("alerts", "test", "checkout", "--owners", str(file), "--slos", slos) == 0
    assert "slo-burn-page" in capsys.readouterr().out
    assert run("alerts", "test", "cart", "--owners", str(file), "--slos", slos) == 0
    assert "slo-burn" not in capsys.readouterr().out


def test_the_command_says_who_is_told_and_why(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("alerts", "test", "payment", "--owners", str(file)) == 0
    out = capsys.readouterr().out
    assert "payment is owned by payments (services in " in out
    assert "responsible: Pia" in out
    assert "webhook http://pager.example.org/page" in out
    assert "at other times infra: Ida" in out
    assert "a page now goes to payments: Pia" in out or "a page now goes to infra: Ida" in out
    assert run("alerts", "test", "new", "--owners", str(file)) == 0
    out = capsys.readouterr().out
    assert "new is owned by shop (default in " in out
    assert "a page now goes to shop: Sam, webhook http://pager.example.org/page" in out
    assert run("alerts", "routes", "--owners", str(file)) == 0
    assert yaml.safe_load(capsys.readouterr().out)["route"]["receiver"] == "shop-ticket"
