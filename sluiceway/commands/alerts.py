"""`sluiceway alerts routes | test`."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="Who is paged for what, from the ownership file.")
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
        typer.echo(text, nl=False)
        return
    file = to / ("alertmanager.yml" if target is Target.ALERTMANAGER else "alerting/sluiceway-routes.yaml")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, "utf-8")
    typer.echo(f"wrote {file}")


@app.command("test")
def who(
    service: Annotated[str, typer.Argument(help="As in service.name.")],
    owners: _Owners = _OWNERS,
) -> None:
    """Show who would be told about a service, by which rule, where, and why.

    Example: `sluiceway alerts test checkout`
    """
    from dashboards.alerts.owners import read  # noqa: PLC0415
    from dashboards.alerts.rules import RULES  # noqa: PLC0415
    from sluiceway.commands.query import print_table  # noqa: PLC0415

    found = read(owners)
    name = found.team_of("service", service)
    team = found.teams[name]
    why = "services" if service in found.services else "default"
    typer.echo(f"{service} is owned by {name} ({why} in {owners}); responsible: {team.dri}")
    rows = [
        [rule.name, rule.severity, name, _where(getattr(team, rule.severity).model_dump(exclude_none=True)), rule.title]
        for rule in RULES
        if rule.owner == "service"
    ]
    print_table(["rule", "severity", "team", "where", "when"], rows)
    if team.hours is not None:
        days = ", ".join(team.hours.days)
        typer.echo(
            f"pages of {name} on {days}, {team.hours.start} to {team.hours.end} {team.hours.zone}; "
            f"at other times {team.outside_hours}: {found.teams[team.outside_hours or name].dri}"
        )
    platform = found.teams[found.platform]
    typer.echo(f"the pipeline itself: {found.platform}, responsible: {platform.dri}")


def _where(receiver: dict[str, str]) -> str:
    return ", ".join(f"{kind.removesuffix('_file').removesuffix('_url')} {value}" for kind, value in receiver.items())
