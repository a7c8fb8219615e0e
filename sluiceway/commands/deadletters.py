"""`sluiceway deadletters list | show | redrive`."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError, SluicewayError
from schemas.signals import NAMES, Signal, signal_of
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say

if TYPE_CHECKING:
    from schemas.log import KeptDeadLetter, LogInspector

app = typer.Typer(
    no_args_is_help=True, help="Look at records that could not be decoded or stored, and send them through again."
)
_SignalOption = Annotated[Signal | None, typer.Option("--signal", "-s", help="Only this signal.")]


@contextmanager
def _inspector(config_file: Path | None, data_dir: Path | None) -> Iterator[LogInspector]:
    from sluiceway.log_access import LogAccess  # noqa: PLC0415

    with LogAccess(loaded(config_file, data_dir).config).inspected() as log:
        yield log


@app.command("list")
def list_(
    signal: _SignalOption = None,
    limit: Annotated[int, typer.Option(min=1, help="Dead letters shown at most.")] = 100,
    after_id: Annotated[int, typer.Option("--after", min=0, help="Only ids above this one; pages through many.")] = 0,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """List dead letters: id, signal, tenant, position in the log, reason.

    Example: `sluiceway deadletters list --signal traces`
    """
    from sluiceway.commands.output import print_table  # noqa: PLC0415

    with _inspector(config_file, data_dir) as log:
        kept = log.dead_letters(NAMES[signal].topic if signal else None, limit=limit, after_id=after_id)
    print_table(
        ["id", "state", "failed at", "signal", "tenant", "position", "bytes", "reason", "message"],
        [[str(k.id), _state(k), _time(k.letter.failed_at_ns), str(signal_of(k.letter.source.topic)),
          k.letter.source.tenant or "(none)", _position(k), str(len(k.letter.source.value)), k.letter.reason,
          k.letter.message] for k in kept],
    )  # fmt: skip
    if len(kept) == limit:
        say(f"there may be more: --after {kept[-1].id}", err=True)


@app.command()
def show(
    number: Annotated[int, typer.Argument(metavar="ID", min=0, help="As `list` prints it.")],
    signal: _SignalOption = None,
    save: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the original bytes to a file.")] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Show one dead letter with its headers and the first of its bytes.

    Example: `sluiceway deadletters show 17 --save bad.bin`
    """
    from sluiceway.commands.output import plain  # noqa: PLC0415

    with _inspector(config_file, data_dir) as log:
        kept = _find(log, number, signal)
    source = kept.letter.source
    for name, value in (
        ("id", kept.id), ("state", _state(kept)),
        ("signal", signal_of(source.topic)), ("tenant", source.tenant or "(none)"),
        ("position", _position(kept)), ("received at", _time(source.received_at_ns)),
        ("failed at", _time(kept.letter.failed_at_ns)), ("items", "unknown" if source.items is None else source.items),
        ("reason", kept.letter.reason), ("message", kept.letter.message), ("bytes", len(source.value)),
        *((f"header {key}", value) for key, value in source.headers.items()),
    ):  # fmt: skip
        say(f"{name + ':':<13} {plain(str(value))}")
    if save:
        # Telemetry as it came, before any redaction: a file that is made here is its owner's alone.
        with os.fdopen(os.open(save, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(source.value)
        say(f"saved to     {save}")
    else:
        _dump(source.value[:256])


@app.command()
def redrive(
    signal: Annotated[Signal, typer.Argument(help="The signal whose dead letters go back into its topic.")],
    ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]...", help="As `list` prints them.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that wait.")] = False,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Append waiting dead letters to their topic again, each once.

    Examples: `sluiceway deadletters redrive traces 17 18`, `sluiceway deadletters redrive logs --all`
    """
    if bool(ids) == everything:
        raise ConfigurationError("ids: must be given, or --all instead; got " + ("both" if ids else "neither"))
    with _inspector(config_file, data_dir) as log:
        count = log.redrive(NAMES[signal].topic, ids or None)
    say(f"{count} redriven")
    if ids and count < len(set(ids)):
        raise SluicewayError(
            f"{len(set(ids)) - count} of {len(set(ids))} ids do not wait among the dead letters of {signal}"
        )


def _find(log: LogInspector, number: int, signal: Signal | None) -> KeptDeadLetter:
    found = [
        kept
        for of in ([signal] if signal else Signal)
        for kept in log.dead_letters(NAMES[of].topic, limit=1, after_id=number - 1)
        if kept.id == number
    ]
    if len(found) != 1:
        rule = "must be the id of a dead letter" if not found else "needs --signal, as several signals have this id"
        raise ConfigurationError(f"ID: {rule}; got {number}")
    return found[0]


def _state(kept: KeptDeadLetter) -> str:
    return "waits" if kept.redriven_at_ns is None else f"redriven {_time(kept.redriven_at_ns)}"


def _position(kept: KeptDeadLetter) -> str:
    source = kept.letter.source
    return f"{source.topic}/{source.partition}/{source.offset}"


def _time(unix_ns: int) -> str:
    if not unix_ns:
        return "unknown"
    return dt.datetime.fromtimestamp(unix_ns // 1_000_000_000, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def _dump(value: bytes) -> None:
    for start in range(0, len(value), 16):
        row = value[start : start + 16]
        text = "".join(chr(b) if 32 <= b < 127 else "." for b in row)
        say(f"{start:08x}  {row.hex(' '):<47}  {text}")
