"""`sluiceway query`."""

from __future__ import annotations

import enum
import json
import re
import sys
from collections.abc import Iterator
from typing import IO, Annotated, cast

import typer

from sluiceway.commands.options import ConfigFile, loaded
from sluiceway.commands.output import copy_answer, print_table, say

# A trailing FORMAT clause of the user's own: the answer is then passed on as it comes.
_OWN_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*$", re.IGNORECASE)
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

    On a terminal, control characters and characters that turn or hide text are shown as their codes, such as `\\x1b` or
    `\\u202e`. To a program, json is exact. In csv and other text, control characters are exact, and only those that
    turn the direction of text are shown as their codes.

    Examples:

    `sluiceway query "SELECT ServiceName, count() FROM otel_traces GROUP BY 1"`

    `sluiceway query "SELECT * FROM otel_logs LIMIT 10" --format json`
    """
    # Importing the client takes longer than printing --help.
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    config = loaded(config_file).config
    statement = (sys.stdin.read() if sql == "-" else sql).strip().rstrip(";")
    own = _OWN_FORMAT.search(statement)
    form = None if own else _FORMATS[output]
    # Without waiting, an error after the first block would arrive inside a 200 answer, as if it were data.
    with StoreAccess.of(config).reader() as client:
        stream = cast("IO[bytes]", client.raw_stream(statement, fmt=form, settings={"wait_end_of_query": "1"}))
        with stream:
            if own or output is not Format.TABLE:
                copy_answer(stream, own[1] if own else _FORMATS[output], to_terminal=sys.stdout.isatty())
            else:
                _print_table(stream, max_rows)


_FORMATS = {
    Format.TABLE: "JSONCompactStringsEachRowWithNamesAndTypes",
    Format.JSON: "JSONEachRow",
    Format.CSV: "CSVWithNames",
}


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
        say(f"only the first {max_rows} rows; --max-rows shows more, --format csv all", err=True)
