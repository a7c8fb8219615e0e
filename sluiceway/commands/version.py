"""`sluiceway version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of

import typer


def version() -> None:
    """Print the versions of Sluiceway, Python and what the pipeline runs on.

    Example: `sluiceway version`
    """
    for name in ("sluiceway", "chdb-core", "clickhouse-connect", "grpcio", "numba", "pyarrow"):
        try:
            typer.echo(f"{name} {version_of(name)}")
        except PackageNotFoundError:
            typer.echo(f"{name} not installed")
    typer.echo(f"python {platform.python_version()}")
