"""`sluiceway schema plan | apply`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say
from sluiceway.config import Config

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

app = typer.Typer(no_args_is_help=True, help="Compare the store's tables with ours, and bring them up to date.")


@app.command()
def plan(config_file: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Print the statements that `apply` would run; changes nothing.

    Example: `sluiceway schema plan`
    """
    from processors import schema  # noqa: PLC0415

    with _writer(config_file, data_dir) as (config, client):
        steps = schema.plan(client, config.store.database, config.retention)
    for step in steps:
        say(f"-- {step.reason}\n{step.statement};\n")
    say(f"{len(steps)} statements to run" if steps else "up to date", err=bool(steps))


@app.command()
def apply(config_file: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Run what `plan` prints. Only adds: no table, column or row is dropped. `sluiceway up` does it at every start.

    Safe to run twice, and again after it was interrupted. While another process applies it, waits for that one.

    Example: `sluiceway schema apply`
    """
    from processors import schema_lease  # noqa: PLC0415

    with _writer(config_file, data_dir) as (config, client):
        steps = schema_lease.apply_alone(client, config.store.database, config.retention)
    for step in steps:
        say(step.reason)
    say(f"{len(steps)} statements applied" if steps else "up to date")


@contextmanager
def _writer(config_file: Path | None, data_dir: Path | None) -> Iterator[tuple[Config, Client]]:
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    config = loaded(config_file, data_dir).config
    with StoreAccess.of(config).writer() as client:
        yield config, client
