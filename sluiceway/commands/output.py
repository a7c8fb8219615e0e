"""How commands write to people and to programs: nothing that came from telemetry acts on a terminal."""

from __future__ import annotations

import codecs
import re
import sys
from collections.abc import Callable, Iterable
from typing import IO

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.shown import directions_shown, json_exact, shown, shown_lines

_CHUNK_BYTES = 64 * 1024
# ClickHouse's output formats that are text; all others are bytes of which none may change.
_TEXT_FORMATS = re.compile(
    r"(CSV|CustomSeparated|LineAsString|Markdown|Pretty|SQLInsert|TSKV|TSV|TabSeparated|Template|Values|Vertical|XML)",
    re.IGNORECASE,
)


def say(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Lines of ours, which may quote what came from elsewhere."""
    typer.echo(shown_lines(text), err=err, nl=nl)


def plain(value: str | None) -> str:
    """A value on one line that cannot move the cursor, change colours or turn the text around."""
    return shown(value or "")


def print_table(names: Iterable[str], rows: Iterable[Iterable[str]], *, right: list[bool] | None = None) -> None:
    """A table on stdout. Values come from clients: control characters are shown, never sent to the terminal."""
    # Piped output is not cut at a width that nobody sees.
    console = Console(width=None if sys.stdout.isatty() else 10_000, markup=False, emoji=False, highlight=False)
    table = Table(box=None if not sys.stdout.isatty() else Table().box, pad_edge=False)
    for n, name in enumerate(names):
        table.add_column(Text(plain(name)), justify="right" if right and right[n] else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(plain(value)) for value in row))
    if table.columns:
        console.print(table)


def copy_answer(stream: IO[bytes], form: str, *, to_terminal: bool) -> None:
    """Pass an answer in ClickHouse's format `form` on to stdout.

    JSON says the same in escapes that every reader undoes. Other text goes to a terminal with every acting character
    shown, to a program with all bytes but those that turn the direction of text. Binary goes to a program as it is.
    """
    passed: Callable[[str], str] | None
    if form.upper().startswith("JSON"):
        passed = json_exact
    elif to_terminal:
        passed = shown_lines
    else:
        passed = directions_shown if _TEXT_FORMATS.match(form) else None
    out = sys.stdout.buffer
    # Bytes that are no UTF-8 reach a program as they are, and a terminal as U+FFFD.
    errors = "replace" if to_terminal else "surrogateescape"
    decoder = codecs.getincrementaldecoder("utf-8")(errors)
    while chunk := stream.read(_CHUNK_BYTES):
        out.write(chunk if passed is None else passed(decoder.decode(chunk)).encode("utf-8", errors))
    if passed is not None:
        out.write(passed(decoder.decode(b"", final=True)).encode("utf-8", errors))
    out.flush()
