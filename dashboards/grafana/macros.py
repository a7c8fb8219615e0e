"""The macros of Grafana's ClickHouse plugin and the variables of a dashboard, expanded as Grafana does.

For everything that runs a generated query without Grafana: tests, and pages that render dashboard files. Sources:
clickhouse-datasource 4.20, `pkg/macros/macros.go` (in the server) and `src/data/CHDatasource.ts` (in the browser).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

ALL = "$__all"
_WORD = re.compile(r"\$__(\w+)")
_VARIABLE = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(?!__)(\w+)|\[\[(\w+)\]\]")
# The browser replaces these; a rule that the server evaluates alone must not have them.
FRONTEND_ONLY = frozenset({"conditionalAll", "adHocFilters", "from", "to"})


class MacroError(ValueError):
    """A query has a macro or a variable that does not exist, or one with the wrong arguments."""


@dataclass(frozen=True, slots=True)
class Range:
    """The time range of a dashboard, Unix seconds, the step that a panel asks for, and the values of variables."""

    from_s: int
    to_s: int
    interval_s: int = 60
    variables: Mapping[str, str | Sequence[str]] = field(default_factory=dict)


def expand(sql: str, over: Range, *, in_alert: bool = False, text_only: bool = False) -> str:
    """The statement that reaches ClickHouse.

    Raises:
        MacroError: it has an unknown macro or variable, or, `in_alert`, one that only a browser replaces, or,
            `text_only`, a variable that would come into the statement as anything but a quoted text.
    """
    if in_alert and (found := sorted(set(_WORD.findall(sql)) & FRONTEND_ONLY) or _VARIABLE.findall(sql)):
        raise MacroError(f"must not be in an alert rule: {found}")
    # The browser's part first, as there.
    sql = _replaced(sql, {"conditionalAll": lambda args: _conditional_all(args, over)}, only=FRONTEND_ONLY)
    if text_only and (raw := [match[0] for match in _VARIABLE.finditer(sql) if match[2] != "singlequote"]):
        raise MacroError(f"must be ${{name:singlequote}}: {raw}")
    sql = _VARIABLE.sub(lambda match: _variable(match, over), sql)
    return _replaced(sql, _server_macros(over))


def _server_macros(over: Range) -> Mapping[str, Callable[[list[str]], str]]:
    start, end = f"toDateTime({over.from_s})", f"toDateTime({over.to_s})"
    start_ms, end_ms = (f"fromUnixTimestamp64Milli({each * 1000})" for each in (over.from_s, over.to_s))

    def one(args: list[str]) -> str:
        if len(args) != 1:
            raise MacroError(f"a time macro takes one column, got {args}")
        return args[0]

    return {
        "timeFilter": lambda args: f"{one(args)} >= {start} AND {args[0]} <= {end}",
        "timeFilter_ms": lambda args: f"{one(args)} >= {start_ms} AND {args[0]} <= {end_ms}",
        "dateFilter": lambda args: f"{one(args)} >= toDate({start}) AND {args[0]} <= toDate({end})",
        "fromTime": lambda _: start,
        "toTime": lambda _: end,
        "fromTime_ms": lambda _: start_ms,
        "toTime_ms": lambda _: end_ms,
        "timeFrom": lambda args: f"{one(args)} >= {start}",
        "timeTo": lambda args: f"{one(args)} <= {end}",
        "timeInterval": lambda args: (
            f"toStartOfInterval(toDateTime({one(args)}), INTERVAL {max(over.interval_s, 1)} second)"
        ),
        "interval_s": lambda _: str(max(over.interval_s, 1)),
    }


def _conditional_all(args: list[str], over: Range) -> str:
    if len(args) < 2 or not re.fullmatch(r"\$\w+", args[-1].strip()):
        raise MacroError(f"$__conditionalAll takes a condition and a plain $variable, got {args}")
    name = args[-1].strip()[1:]
    if name not in over.variables:
        raise MacroError(f"no variable {name!r}")
    value = over.variables[name]
    values = [value] if isinstance(value, str) else list(value)
    return "1=1" if values in ([], [""]) or ALL in values else ", ".join(args[:-1])


def _variable(match: re.Match[str], over: Range) -> str:
    name, form = match[1] or match[3] or match[4], match[2]
    if name not in over.variables:
        raise MacroError(f"no variable {name!r}")
    value = over.variables[name]
    values = [value] if isinstance(value, str) else list(value)
    if form == "singlequote":
        return ",".join(text_literal(each) for each in values)
    if form not in (None, "raw", "csv"):
        raise MacroError(f"no such form of a variable: {form!r}")
    if form is None and not isinstance(value, str):
        # The plugin quotes several values, and escapes none: queries of ours say `singlequote`.
        return "'" + "','".join(values) + "'"
    return ",".join(values)


def text_literal(value: str) -> str:
    """A text in SQL that is none of Grafana's macros or variables, whatever it says.

    Unlike in Grafana, a `$` of a variable's value is none of the statement's: its server would take `$__timeFilter(`
    for a macro, and what follows the value for its argument.
    """
    escaped = value.replace("\\", "\\\\").replace("'", "\\'").replace("$", "\\x24").replace("[[", "[\\x5b")
    return f"'{escaped}'"


def _replaced(sql: str, macros: Mapping[str, Callable[[list[str]], str]], *, only: frozenset[str] | None = None) -> str:
    parts, at = [], 0
    for match in _WORD.finditer(sql):
        if match.start() < at or (only is not None and match[1] not in only):
            continue
        if match[1] not in macros:
            raise MacroError(f"no macro $__{match[1]}")
        end = match.end()
        args: list[str] = []
        if sql[end : end + 1] == "(":
            args, end = _arguments(sql, end)
        parts += [sql[at : match.start()], macros[match[1]](args)]
        at = end
    return "".join([*parts, sql[at:]])


def _arguments(sql: str, at: int) -> tuple[list[str], int]:
    depth, start, args, quoted = 0, at + 1, [], False
    for end in range(at, len(sql)):
        letter = sql[end]
        if letter == "'" and sql[end - 1] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif letter == "(":
            depth += 1
        elif letter == "," and depth == 1:
            args.append(sql[start:end].strip())
            start = end + 1
        elif letter == ")":
            depth -= 1
            if depth == 0:
                last = sql[start:end].strip()
                return ([*args, last] if last or args else []), end + 1
    raise MacroError(f"a macro's parenthesis is not closed: {sql[at : at + 60]!r}")
