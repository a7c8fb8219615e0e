"""`sluiceway config show | validate`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer
from pydantic import BaseModel, SecretStr

from schemas.documents import dump_yaml
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say
from sluiceway.config import SETTINGS, Loaded, Setting

app = typer.Typer(no_args_is_help=True, help="Look at the settings and check them.")


@app.command()
def show(config_file: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Print every setting that is in force, with its source, unit and default, as YAML.

    The output is itself a valid configuration file (secrets are masked).

    Example: `sluiceway config show > sluiceway.yaml`
    """
    say("\n".join(render(loaded(config_file, data_dir))))


@app.command()
def validate(config_file: ConfigFile = None) -> None:
    """Check file and environment without starting anything; exit code 2 when a setting is wrong.

    Example: `sluiceway config validate --config sluiceway.toml`
    """
    result = loaded(config_file)
    variables = sum(source == "environment" for source in result.sources.values())
    say(f"valid: {result.file or 'no configuration file'}, {variables} settings from environment")


def render(result: Loaded) -> Iterator[str]:
    """The configuration as lines of YAML, grouped by section."""
    yield f"# file: {result.file or 'none'}"
    section: tuple[str, ...] = ()
    for setting in SETTINGS:
        if setting.path[:-1] != section:
            section = setting.path[:-1]
            yield f"{section[-1]}:"
        indent = "  " * len(section)
        note = ", ".join(_notes(setting, result))
        yield f"{indent}{setting.path[-1]}: {inline(setting.value_in(result.config))}  # {note}"


def _notes(setting: Setting, result: Loaded) -> Iterator[str]:
    source = result.sources[setting.dotted]
    yield source
    if setting.unit:
        yield setting.unit
    if source != "default":
        yield f"default {inline(setting.default)}"


def inline(value: Any) -> str:
    """A value as YAML on one line."""
    if isinstance(value, SecretStr):
        value = str(value)
    if isinstance(value, tuple | set | frozenset):
        value = [
            each.model_dump(mode="json", exclude_defaults=True) if isinstance(each, BaseModel) else each
            for each in value
        ]
    if isinstance(value, dict):
        value = {
            key: each.model_dump(exclude_none=True) if isinstance(each, BaseModel) else each
            for key, each in value.items()
        }
    if not isinstance(value, str | int | float | bool | list | dict | None):
        value = str(value)
    text: str = dump_yaml(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
