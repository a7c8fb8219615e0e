"""Options that several commands share, and how each command gets its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sluiceway.config import Config, Loaded, load

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML or TOML file. Default: SLUICEWAY_CONFIG, else sluiceway.yaml or .toml in the working folder.",
    ),
]
DataDir = Annotated[
    Path | None, typer.Option("--data-dir", "-d", metavar="DIR", help="Folder that holds everything. Default: data.")
]


def loaded(config_file: Path | None, data_dir: Path | None = None) -> Loaded:
    """The configuration that a command runs with; raises ConfigurationError."""
    overrides: dict[str, Any] = {} if data_dir is None else {"data_dir": data_dir}
    return load(config_file, overrides)


def store_path(config: Config) -> Path:
    """The folder of the embedded store."""
    return config.data_dir / "store"


def log_path(config: Config) -> Path:
    """The file of the embedded log."""
    return config.log.path or config.data_dir / "log" / "log.sqlite"


def incidents_path(config: Config) -> Path:
    """The file of incident records."""
    return config.data_dir / "incidents.sqlite"
