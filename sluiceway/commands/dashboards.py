"""`sluiceway dashboards generate | diff | push`."""

from __future__ import annotations

import difflib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say

if TYPE_CHECKING:
    from dashboards.definitions.inventory import Inventory

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
_Services = Annotated[
    bool, typer.Option("--services", help="Also a dashboard of each service in the store, with what it sends.")
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
    services: _Services = False,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Write dashboards, alert rules and the data source as files for Grafana's provisioning.

    Equal definitions give equal files, so that changes can be reviewed. Dashboards of ours that are no longer defined
    are removed from the folder; other files are left alone.

    Example: `sluiceway dashboards generate --to /etc/grafana/provisioning`
    """
    files = _files(dashboards_path, host, runbooks, slos, services, config_file, data_dir)
    for path, text in files.items():
        file = to / path
        state = "same" if file.is_file() and file.read_text("utf-8") == text else "wrote"
        if state == "wrote":
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
        say(f"{state:<7} {file}")
    for file in _left_over(to, files, services=services):
        file.unlink()
        say(f"removed {file}")


@app.command()
def diff(
    to: _Folder = _DEFAULT_FOLDER,
    dashboards_path: _Path = _DEFAULT_PATH,
    host: _Host = None,
    runbooks: _Runbooks = _RUNBOOKS,
    slos: _Slos = None,
    services: _Services = False,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show what `generate` would change, as a unified diff; exit code 1 when anything would.

    Example: `sluiceway dashboards diff --to /etc/grafana/provisioning`
    """
    files = _files(dashboards_path, host, runbooks, slos, services, config_file, data_dir)
    differing = False
    for path, text in files.items():
        file = to / path
        found = file.read_text("utf-8") if file.is_file() else ""
        if found != text:
            differing = True
            lines = difflib.unified_diff(
                found.splitlines(), text.splitlines(), str(file), f"{file} (generated)", lineterm=""
            )
            say("\n".join(lines))
    for file in _left_over(to, files, services=services):
        differing = True
        say(f"would be removed: {file}")
    raise typer.Exit(1 if differing else 0)


@app.command()
def push(
    url: Annotated[str, typer.Option("--url", help="Grafana's address, such as https://grafana.example.org.")],
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help="Holds a service account's token; default: GRAFANA_TOKEN."),
    ] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove dashboards and rules that we pushed once and no longer define.")
    ] = False,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Send the token over http:// to another machine.")
    ] = False,
    host: _Host = None,
    runbooks: _Runbooks = _RUNBOOKS,
    slos: _Slos = None,
    services: _Services = False,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Push folder, data source, dashboards and alert rules into a running Grafana; what is there already is not sent.

    A push that was interrupted is done again. Others' dashboards and rules are left alone. The password of a store that
    has one is set in Grafana by hand, once.

    Example: `sluiceway dashboards push --url https://grafana.example.org --token-file token --slos slos`
    """
    import json  # noqa: PLC0415
    from collections import Counter  # noqa: PLC0415

    from dashboards import files  # noqa: PLC0415
    from dashboards.definitions.of_service import OF_INVENTORY  # noqa: PLC0415
    from dashboards.grafana.api import Grafana  # noqa: PLC0415
    from dashboards.grafana.push import push as pushing  # noqa: PLC0415
    from dashboards.slo.files import read  # noqa: PLC0415

    grafana = Grafana(_safe(url, insecure=insecure), _token(token_file))
    objectives = read(slos) if slos else ()
    of_services = _inventories(config_file, data_dir) if services else ()
    store = _store(host, config_file, data_dir)
    counts: Counter[str] = Counter()
    for done in pushing(
        grafana,
        files.datasource(store.host, store.port, store.database, store.user, tls=store.tls),
        [json.loads(board.json()) for board in files.boards(objectives, of_services)],
        files.alert_groups(objectives, runbooks),
        prune=prune,
        keep=None if services else OF_INVENTORY,
    ):
        counts[done.became] += 1
        say(f"{done.became:<8} {done.kind:<11} {done.name}")
    say(", ".join(f"{count} {became}" for became, count in sorted(counts.items())))


def _safe(url: str, *, insecure: bool) -> str:
    from urllib.parse import urlsplit  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1", "::1") and not insecure:
        raise ConfigurationError(
            f"--url must be https://, as the token would be read on its way; --insecure allows it; received {url!r}"
        )
    return url


def _token(file: Path | None) -> str:
    try:
        token = file.read_text("utf-8").strip() if file else os.environ.get("GRAFANA_TOKEN", "").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--token-file must be readable: {file} ({' '.join(str(error).split())})") from error
    if not token or not token.isascii() or not token.isprintable():
        where = str(file) if file else "GRAFANA_TOKEN"
        raise ConfigurationError(f"{where}: must hold a service account's token, one line of printable ASCII")
    return token


@dataclass(frozen=True, slots=True)
class _Store:
    host: str
    port: int
    database: str
    user: str
    tls: bool


def _store(host: str | None, config_file: Path | None, data_dir: Path | None) -> _Store:
    from urllib.parse import urlsplit  # noqa: PLC0415

    store = loaded(config_file, data_dir).config.store
    parts = urlsplit(store.url or f"http://{store.host}:{store.http_port}")
    tls = parts.scheme == "https"
    user = (store.reader_user or store.user or _USER) if store.url else _USER
    return _Store(
        host or parts.hostname or "127.0.0.1", parts.port or (8443 if tls else 8123), store.database, user, tls
    )


def _files(
    dashboards_path: str,
    host: str | None,
    runbooks: str,
    slos: Path | None,
    services: bool,
    config_file: Path | None,
    data_dir: Path | None,
) -> dict[PurePosixPath, str]:
    from dashboards.files import generated  # noqa: PLC0415
    from dashboards.slo.files import read  # noqa: PLC0415

    store = _store(host, config_file, data_dir)
    return generated(
        store.host,
        store.port,
        store.database,
        store.user,
        dashboards_path,
        tls=store.tls,
        runbooks_url=runbooks,
        objectives=read(slos) if slos else (),
        services=_inventories(config_file, data_dir) if services else (),
    )


def _inventories(config_file: Path | None, data_dir: Path | None) -> list[Inventory]:
    import time  # noqa: PLC0415

    from dashboards.definitions.inventory import inventories  # noqa: PLC0415
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    with StoreAccess.of(loaded(config_file, data_dir).config).reader() as client:
        return inventories(
            lambda sql, parameters: client.query(sql, parameters=dict(parameters)).named_results(), int(time.time())
        )


def _left_over(to: Path, files: dict[PurePosixPath, str], *, services: bool) -> list[Path]:
    """Dashboards that we wrote once and no longer define. Of services only where they were asked for."""
    from dashboards.definitions.of_service import OF_INVENTORY  # noqa: PLC0415

    wanted = {to / path for path in files}
    if not services:
        wanted |= {
            file for file in (to / "dashboards" / "sluiceway").glob("*.json") if OF_INVENTORY.fullmatch(file.stem)
        }
    return sorted(file for file in (to / "dashboards" / "sluiceway").glob("sluiceway-*.json") if file not in wanted)
