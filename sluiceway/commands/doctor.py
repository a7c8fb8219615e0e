"""`sluiceway doctor`."""

from __future__ import annotations

import typer

from schemas.shown import shown_lines
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say


def doctor(config_file: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Check machine, ports, disk, who may read the files, packages, store, log and clock, and say what to do.

    Exit code 0: nothing fails. 1: something will not work.

    Example: `sluiceway doctor --data-dir /var/lib/sluiceway`
    """
    result = loaded(config_file, data_dir)
    from sluiceway.doctor import Status, examine  # noqa: PLC0415

    colours = {Status.OK: typer.colors.GREEN, Status.WARN: typer.colors.YELLOW, Status.FAIL: typer.colors.RED}
    failed = False
    for finding in examine(result.config):
        failed = failed or finding.status is Status.FAIL
        mark = typer.style(f"{finding.status:<4}", fg=colours[finding.status])
        typer.echo(f"{mark}  {shown_lines(f'{finding.subject:<12} {finding.seen}')}")
        if finding.advice:
            say(f"      {'':<12} -> {finding.advice}")
    raise typer.Exit(1 if failed else 0)
