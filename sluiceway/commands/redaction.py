"""`sluiceway redaction preview | hash`."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from schemas.errors import ConfigurationError
from schemas.signals import Signal, topic
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say

app = typer.Typer(
    no_args_is_help=True, help="See what redaction rules change before they do, and find what they hashed."
)


@app.command()
def preview(
    signal: Annotated[Signal | None, typer.Option("--signal", "-s", help="Only this signal.")] = None,
    records: Annotated[
        int, typer.Option(min=1, max=10_000, help="How many of the log's newest records a signal.")
    ] = 20,
    show_values: Annotated[
        bool, typer.Option("--show-values", help="Print one value of each as it is now, secret or not.")
    ] = False,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Dry run: apply the rules of the configuration to the newest records of the log and print what would change.

    Nothing is written. Name a file with other rules by --config to try them before they are in force.

    Example: `sluiceway redaction preview --config candidate.yaml --signal logs`
    """
    from sluiceway.commands.output import plain, print_table  # noqa: PLC0415
    from sluiceway.consuming import hash_key  # noqa: PLC0415
    from sluiceway.log_access import LogAccess  # noqa: PLC0415
    from sluiceway.redaction_preview import preview as preview_of  # noqa: PLC0415

    config = loaded(config_file, data_dir).config
    guard = config.guard
    if not guard.redaction:
        raise ConfigurationError("guard.redaction: must have a rule to preview; got none")
    key = hash_key(guard.hash_key_file)
    rows, looked_at = [], []
    with LogAccess(config).inspected() as log:
        for each in [signal] if signal else Signal:
            found = preview_of(each, log.newest(topic(each), records), guard.redaction, key)
            looked_at.append(f"{found.items} items of {each}")
            if found.malformed:
                say(f"{each}: {found.malformed} records are malformed and were left out", err=True)
            rows += [
                [str(change.signal), change.rule, change.place, change.attribute, str(change.values),
                 *([plain(change.before)[:60]] if show_values else []),
                 "(dropped)" if change.after is None else plain(change.after)[:60]]
                for change in found.changes
            ]  # fmt: skip
    names = ["signal", "rule", "where", "attribute", "values", *(["one is"] if show_values else []), "would be"]
    print_table(names, rows, right=[name == "values" for name in names])
    say(f"looked at {', '.join(looked_at)}; nothing was changed")


@app.command("hash")
def hash_(
    value: Annotated[str, typer.Argument(help="The value as it was sent; `-` reads it from standard input.")],
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Print what `hash` rules store for a value, to search for it.

    Example: `sluiceway redaction hash 'ann@example.org'`
    """
    import pyarrow as pa  # noqa: PLC0415

    from processors.guard.texts import hashed  # noqa: PLC0415
    from sluiceway.consuming import hash_key  # noqa: PLC0415

    file = loaded(config_file, data_dir).config.guard.hash_key_file
    if file is None:
        raise ConfigurationError("guard.hash_key_file: must be set; got none")
    text = sys.stdin.read().removesuffix("\n") if value == "-" else value
    say(hashed(pa.array([text]), hash_key(file))[0].as_py())
