"""`sluiceway schema plan | apply`."""

from __future__ import annotations

import typer

from sluiceway.commands.options import ConfigFile, DataDir, loaded

app = typer.Typer(no_args_is_help=True, help="Compare the store's tables with ours, and bring them up to date.")


@app.command()
def plan(config_file: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Print the statements that `apply` would run; changes nothing.

    Example: `sluiceway schema plan`
    """
    loaded(config_file, data_dir)
