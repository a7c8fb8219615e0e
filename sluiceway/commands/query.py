"""`sluiceway query`."""

from __future__ import annotations

import enum
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Annotated, cast

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sluiceway.commands.options import ConfigFile, loaded

# A trailing FORMAT clause of the user's own: the answer is then passed on as it comes.
_OWN_FORMAT = re.compile(r"\bFORMAT\s+\w+\s*$", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_CHUNK_BYTES = 64 * 1024


class Format(enum.StrEnum):
    """How an answer is written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


def query(
    sql: Annotated[str, typer.Argument(help="One statement; `-` reads it from standard input.")],
    output: Annotated[Format, typer.Option("--format", "-f", help="json is one object a line.")] = Format.TABLE,
    max_rows: Annotated[
        int, typer.Option(min=1, help="Rows that a table shows at most; csv and json show all.")
    ] = 1000,
    config_file: ConfigFile = None,
) -> None:
    """Ask the store as its read-only user and print the answer.

    Examples:

    `sluiceway query "SELECT ServiceName, count() FROM otel_traces GROUP BY 1"`

    `sluiceway query "SELECT * FROM otel_logs LIMIT 10" --format json`
    """
    # Importing the client takes longer than printing --help.
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    config = loaded(config_file).config
    statement = (sys.stdin.read() if sql == "-" else sql).strip().rstrip(";")
    passed_on = output is not Format.TABLE or _OWN_FORMAT.search(statement)
    form = None if _OWN_FORMAT.search(statement) else _FORMATS[output]
    # Without waiting, an error after the first block would arrive inside a 200 answer, as if it were data.
    with StoreAccess.of(config).reader() as client:
        stream = cast("IO[bytes]", client.raw_stream(statement, fmt=form, settings={"wait_end_of_query": "1"}))
        with stream:
            if passed_on:
                _copy(stream)
            else:
                _print_table(stream, max_rows)


_FORMATS = {
    Format.TABLE: "JSONCompactStringsEachRowWithNamesAndTypes",
    Format.JSON: "JSONEachRow",
    Format.CSV: "CSVWithNames",
}


def _copy(stream: IO[bytes]) -> None:
    while chunk := stream.read(_CHUNK_BYTES):
        sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _lines(stream: IO[bytes]) -> Iterator[list[str]]:
    rest = b""
    while chunk := stream.read(_CHUNK_BYTES):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield json.loads(line)


def _print_table(stream: IO[bytes], max_rows: int) -> None:
    lines = _lines(stream)
    names, types = next(lines, []), next(lines, [])
    shown: list[list[str]] = []
    more = False
    for row in lines:
        if len(shown) == max_rows:
            more = True
            break
        shown.append(row)
    print_table(names, shown, right=[("Int" in kind or "Float" in kind) and "(" not in kind for kind in types])
    if more:
        typer.echo(f"only the first {max_rows} rows; --max-rows shows more, --format csv all", err=True)


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


def plain(value: str | None) -> str:
    """A value that cannot move the cursor or change colours."""
    return _CONTROL.sub(lambda match: repr(match[0])[1:-1], value or "")
