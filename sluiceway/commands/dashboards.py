"""`sluiceway dashboards generate | diff`."""

from __future__ import annotations

import difflib
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from sluiceway.commands.options import ConfigFile, DataDir, loaded

app = typer.Typer(no_args_is_help=True, help="Grafana's dashboards and alert rules, made as files.")
_Folder = Annotated[Path, typer.Option("--to", metavar="DIR", help="Grafana's provisioning folder, or a copy of it.")]
_Path = Annotated[
    str, typer.Option("--dashboards-path", help="Where Grafana itself finds the dashboard files.", metavar="DIR")
]
_Host = Annotated[str | None, typer.Option("--host", help="The store's address as Grafana reaches it.")]
_Runbooks = Annotated[
    str, typer.Option("--runbooks", metavar="URL", help="Where people find docs/runbooks; alerts link there.")
]
_Slos = Annotated[
    Path | None,
    typer.Option(
        "--slos", metavar="DIR", help="OpenSLO files to make a dashboard and alert rules of; see docs/slos.md."
    ),
]
_USER = "default"
_RUNBOOKS = "docs/runbooks"
_DEFAULT_FOLDER = Path("grafana")
_DEFAULT_PATH = "/etc/grafana/provisioning/dashboards/sluiceway"


@app.command()
def generate(
    to: _Folder = _DEFAULT_FOLDER,
    dashboards_path: _Path = _DEFAULT_PATH,
    host: _Host = None,
    runbooks: _Runbooks = _RUNBOOKS,
    slos: _Slos = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Write dashboards, alert rules and the data source as files for Grafana's provisioning.

    Equal definitions give equal files, so that changes can be reviewed. Dashboards of ours that are no longer defined
    are removed from the folder; other files are left alone.

    Example: `sluiceway dashboards generate --to /etc/grafana/provisioning`
    """
    files = _files(dashboards_path, host, runbooks, slos, config_file, data_dir)
    for path, text in files.items():
        file = to / path
        state = "same" if file.is_file() and file.read_text("utf-8") == text else "wrote"
        if state == "wrote":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        typer.echo(f"{state:<7} {file}")
    for file in _left_over(to, files):
        file.unlink()
        typer.echo(f"removed {file}")


@app.command()
def diff(
    to: _Folder = _DEFAULT_FOLDER,
    dashboards_path: _Path = _DEFAULT_PATH,
    host: _Host = None,
    runbooks: _Runbooks = _RUNBOOKS,
    slos: _Slos = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show what `generate` would change, as a unified diff; exit code 1 when anything would.

    Example: `sluiceway dashboards diff --to /etc/grafana/provisioning`
    """
    files = _files(dashboards_path, host, runbooks, slos, config_file, data_dir)
    differing = False
    for path, text in files.items():
        file = to / path
        found = file.read_text("utf-8") if file.is_file() else ""
        if found != text:
            differing = True
            lines = difflib.unified_diff(
                found.splitlines(), text.splitlines(), str(file), f"{file} (generated)", lineterm=""
            )
            typer.echo("\n".join(lines))
    for file in _left_over(to, files):
        differing = True
        typer.echo(f"would be removed: {file}")
    raise typer.Exit(1 if differing else 0)


def _files(
    dashboards_path: str,
    host: str | None,
    runbooks: str,
    slos: Path | None,
    config_file: Path | None,
    data_dir: Path | None,
) -> dict[PurePosixPath, str]:
    from urllib.parse import urlsplit  # noqa: PLC0415

    from dashboards.files import generated  # noqa: PLC0415
    from dashboards.slo.files import read  # noqa: PLC0415

    store = loaded(config_file, data_dir).config.store
    parts = urlsplit(store.url or f"http://{store.host}:{store.http_port}")
    user = (store.reader_user or store.user or _USER) if store.url else _USER
    tls = parts.scheme == "https"
    return generated(
        host or parts.hostname or "127.0.0.1",
        parts.port or (8443 if tls else 8123),
        store.database,
        user,
        dashboards_path,
        tls=tls,
        runbooks_url=runbooks,
        objectives=read(slos) if slos else (),
    )


def _left_over(to: Path, files: dict[PurePosixPath, str]) -> list[Path]:
    """Dashboards that we wrote once and no longer define."""
    wanted = {to / path for path in files}
    return sorted(file for file in (to / "dashboards" / "sluiceway").glob("sluiceway-*.json") if file not in wanted)
