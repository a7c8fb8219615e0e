"""`sluiceway alerts routes | test | list | ack | incidents`."""

from __future__ import annotations

import datetime as dt
import enum
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError
from sluiceway.commands.options import ConfigFile, DataDir, incidents_path, loaded
from sluiceway.commands.output import say

if TYPE_CHECKING:
    from dashboards.alerts.incident import Incident
    from dashboards.alerts.incidents import IncidentFile

app = typer.Typer(no_args_is_help=True, help="Who is paged for what, what fires, and what became of it.")
_Owners = Annotated[
    Path, typer.Option("--owners", metavar="FILE", help="Services to teams to those responsible; see docs/alerts.md.")
]
_OWNERS = Path("owners.yaml")


class Target(enum.StrEnum):
    """Who routes alerts."""

    ALERTMANAGER = "alertmanager"
    GRAFANA = "grafana"


@app.command()
def routes(
    owners: _Owners = _OWNERS,
    target: Annotated[Target, typer.Option("--format", "-f", help="Who routes alerts.")] = Target.ALERTMANAGER,
    to: Annotated[
        Path | None,
        typer.Option(
            "--to",
            metavar="DIR",
            help="Write a file there instead: `alertmanager.yml`, or `alerting/sluiceway-routes.yaml` in Grafana's "
            "provisioning folder.",
        ),
    ] = None,
) -> None:
    """Print the configuration of an Alertmanager, or of Grafana, that routes every alert to the team that owns it.

    Examples:

    `sluiceway alerts routes --owners owners.yaml > alertmanager.yml && amtool check-config alertmanager.yml`

    `sluiceway alerts routes --format grafana --to /etc/grafana/provisioning`
    """
    from dashboards.alerts.configuration import configuration  # noqa: PLC0415
    from dashboards.alerts.contacts import contacts_file  # noqa: PLC0415
    from dashboards.alerts.owners import read  # noqa: PLC0415

    found = read(owners)
    text = configuration(found) if target is Target.ALERTMANAGER else contacts_file(found)
    if to is None:
        say(text, nl=False)
        return
    file = to / ("alertmanager.yml" if target is Target.ALERTMANAGER else "alerting/sluiceway-routes.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    say(f"wrote {file}")


@app.command("test")
def who(
    service: Annotated[str, typer.Argument(help="As in service.name.")],
    owners: _Owners = _OWNERS,
    slos: Annotated[
        Path | None, typer.Option("--slos", metavar="DIR", help="OpenSLO files, for the rules of its objectives.")
    ] = None,
) -> None:
    """Show who would be told about a service, by which rule, where, and why.

    Example: `sluiceway alerts test checkout`
    """
    from dashboards.alerts.durations import written  # noqa: PLC0415
    from dashboards.alerts.owners import read  # noqa: PLC0415
    from dashboards.alerts.routes import Router  # noqa: PLC0415
    from dashboards.alerts.rules import RULES  # noqa: PLC0415
    from dashboards.slo.files import read as read_objectives  # noqa: PLC0415
    from dashboards.slo.rules import burn_rules  # noqa: PLC0415
    from sluiceway.commands.output import print_table  # noqa: PLC0415

    found = read(owners)
    objectives = [each for each in (read_objectives(slos) if slos else ()) if each.service == service]
    name = found.team_of("service", service)
    team = found.teams[name]
    why = "services" if service in found.services else "default"
    say(f"{service} is owned by {name} ({why} in {owners}); responsible: {team.dri}")
    rows = [
        [rule.name, rule.severity, name, _where(getattr(team, rule.severity).model_dump(exclude_none=True)), rule.title]
        for rule in [*RULES, *burn_rules(objectives)]
        if rule.owner == "service"
    ]
    print_table(["rule", "severity", "team", "where", "when"], rows)
    if team.hours is not None:
        days = ", ".join(team.hours.days)
        say(
            f"pages of {name} on {days}, {team.hours.start} to {team.hours.end} {team.hours.zone}; "
            f"at other times {team.outside_hours}: {found.teams[team.outside_hours or name].dri}"
        )
    page = {"severity": "page", "owner": "service", "service": service}
    for route in Router(found).told(page, dt.datetime.now(dt.UTC)):
        taking = found.teams[route.team]
        receiver = taking.page if route.severity == "page" else taking.ticket
        where = _where(receiver.model_dump(exclude_none=True))
        say(f"a page now goes to {route.team}: {taking.dri}, {where}")
    said, after_s = name, 0
    for to, due_s in found.escalation(name):
        said, after_s = f"{said}, after {written(due_s)} to {to}: {found.teams[to].dri}", due_s
    if after_s:
        say(f"pages that nobody acknowledges: from {said}")
    platform = found.teams[found.platform]
    say(f"the pipeline itself: {found.platform}, responsible: {platform.dri}")


@app.command("list")
def list_(config_file: ConfigFile = None, data_dir: DataDir = None) -> None:
    """List what fires now: incident, severity, team, and who has taken it.

    Example: `sluiceway alerts list`
    """
    from dashboards.alerts.durations import written  # noqa: PLC0415
    from sluiceway.commands.output import print_table  # noqa: PLC0415

    with _records(config_file, data_dir) as records:
        found = [incident for incident in records.untold() if incident.open] if records.exists() else []
    now_s = time.time()
    print_table(
        ["id", "severity", "rule", "team", "since", "for", "state", "summary"],
        [[i.id, i.severity, i.rule, i.team or "-", _moment(i.detected_s), written(now_s - i.detected_s), _state(i),
          i.summary] for i in found],
    )  # fmt: skip


@app.command()
def ack(
    incident: Annotated[str, typer.Argument(metavar="ID", help="As `list` prints it, or its first letters.")],
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who takes it.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Acknowledge an incident: it goes on firing, and escalates no further.

    Example: `sluiceway alerts ack 3fa92c1e --by Ida`
    """
    if not by.strip():
        raise ConfigurationError(f"--by: must be a name; got {by!r}")
    from sluiceway.commands.output import plain  # noqa: PLC0415

    with _records(config_file, data_dir) as records:
        found = _one(records, incident)
        if not records.acknowledge(found.id, time.time(), by.strip()):
            found = _one(records, found.id)
            why = plain(f"acknowledged by {found.acknowledged_by}") if found.open else "over"
            raise ConfigurationError(f"ID: must be an open incident that nobody has taken; {found.id} is {why}")
    of = f" of {found.service}" if found.service else ""
    say(plain(f"{found.id} ({found.rule}{of}) is acknowledged by {by.strip()}"))


@app.command()
def incidents(
    since: Annotated[str, typer.Option("--since", metavar="DURATION", help="How far back: 12h, 7d, 4w.")] = "7d",
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """List incidents with the times to detect, acknowledge and restore each, and their medians.

    To detect and to restore count from when the condition began to hold, to acknowledge from when the alert fired.

    Example: `sluiceway alerts incidents --since 30d`
    """
    from dashboards.alerts.durations import duration_s, written  # noqa: PLC0415
    from dashboards.alerts.incident import medians  # noqa: PLC0415
    from sluiceway.commands.output import print_table  # noqa: PLC0415

    try:
        back_s = duration_s(since)
    except ValueError as error:
        raise ConfigurationError(f"--since: {error}") from error
    with _records(config_file, data_dir) as records:
        found = records.since(time.time() - back_s) if records.exists() else []
    print_table(
        ["id", "severity", "rule", "service", "team", "detected", "to detect", "to acknowledge", "by", "to restore"],
        [[i.id, i.severity, i.rule, i.service or "-", i.team or "-", _moment(i.detected_s), written(i.to_detect_s),
          written(i.to_acknowledge_s), i.acknowledged_by or "-", "open" if i.open else written(i.to_restore_s)]
         for i in found],
    )  # fmt: skip
    median = medians(found)
    say(
        f"{len(found)} incidents in {since}, {sum(i.open for i in found)} open; median time to detect "
        f"{written(median.detect_s)}, to acknowledge {written(median.acknowledge_s)}, "
        f"to restore {written(median.restore_s)}"
    )


def _records(config_file: Path | None, data_dir: Path | None) -> IncidentFile:
    from dashboards.alerts.incidents import IncidentFile  # noqa: PLC0415

    return IncidentFile(incidents_path(loaded(config_file, data_dir).config))


def _one(records: IncidentFile, prefix: str) -> Incident:
    found = records.beginning(prefix) if prefix and records.exists() else []
    if len(found) != 1:
        rule = "must be longer, as several incidents begin so" if found else "must be the id of an incident"
        raise ConfigurationError(f"ID: {rule}; got {prefix[:80]!r}")
    return found[0]


def _state(incident: Incident) -> str:
    if incident.acknowledged_s is not None:
        return f"acknowledged by {incident.acknowledged_by}"
    return f"escalated {incident.escalation} times" if incident.escalation else "firing"


def _moment(unix_s: float) -> str:
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _where(receiver: dict[str, str]) -> str:
    return ", ".join(f"{kind.removesuffix('_file').removesuffix('_url')} {value}" for kind, value in receiver.items())
