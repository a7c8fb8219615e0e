"""Whether a statement of somebody without a password may reach the engine: it reads, and it calls only known names.

Two things in the engine act before a grant is checked: table function `sqlite` makes the file that it is told to open,
and the scalar function `file` needs no grant at all. So the names that a statement calls are held against `names.txt`,
which holds the functions, types and keywords that may stand before a parenthesis. A function may be an argument too, as
in `arrayMap(f, x)`, where it is a word like any other: the rest of the engine's functions, `refused.txt`, may stand
nowhere. Every function of the engine is in one of the two files; a test asks the engine.

Settings are held to their list here too: the engine has some that are SQL, and that `readonly` does not hold.

Text is cut into tokens as ClickHouse's lexer does (src/Parsers/Lexer.cpp). Where its reading could differ from ours the
statement is refused instead: heredocs, typographic quotes, comments in other forms than `--` and `/* */`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

from sluiceway.embedded import limits

# ClickHouse's max_query_size for readers.
MAX_STATEMENT_BYTES = 256 * 1024
# 1.4 us each: the gate reads for one caller at a time. The longest of our own questions has some 700.
_MAX_TOKENS = 30_000
_MAX_NAME_CHARACTERS = 100
# The engine makes as many bytes as a width says and counts them afterwards: '%999999999d' took 2 GB.
_WIDE = re.compile(r"[0-9]{4}|[*\\]")
_FIRST_WORDS = ("select", "with", "show", "describe", "desc", "explain", "exists", "use", "set", "from")

# system.aggregate_function_combinators, the longer before one that it ends with.
_COMBINATORS = (
    "simplestate", "ordefault", "distinct", "resample", "foreach", "argmax", "argmin", "ornull", "tuple", "merge",
    "state", "array", "null", "map", "if",
)  # fmt: skip

# The list of settings ends a reader's statement, and does not stand within parentheses: there the engine does not hold
# what `const` names. A value is one word, number or string without escapes.
_VALUE = r"(?: '(?:[^'\\]|'')*' | [+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)? | [A-Za-z]+ )"
_SETTING = (
    rf"[`\"]?(?P<name>[A-Za-z_][A-Za-z0-9_]*)[`\"]?(?:\s*=\s*{_VALUE})?(?=\s*(?:[,;]|$)|\s+(?i:format|settings)\s)"
)
_BEHIND_SETTINGS = re.compile(
    r"(?P<end>;?\s*\Z)|,|(?i:settings)(?=\s)|(?P<format>(?i:format)\s+[A-Za-z0-9]+)", re.ASCII
)
_ONE_SETTING = re.compile(_SETTING, re.VERBOSE | re.ASCII)
_SHOWN = re.compile(r"\s*show\s+(?:changed\s+)?settings\Z", re.IGNORECASE | re.ASCII)
_GAP = re.compile(r"\s+", re.ASCII)

_TOKEN = re.compile(
    r"""
      (?P<space>   [ \t\n\r\f\v]+ )
    | (?P<comment> --[^\n]* | /\*.*?\*/ )
    | (?P<string>  ' (?: [^'\\]++ | \\. | '' )*+ ' )
    | (?P<quoted>  " (?: [^"\\]++ | "" )*+ " | ` (?: [^`\\]++ | `` )*+ ` )
    | (?P<word>    [A-Za-z_] [A-Za-z0-9_]* )
    | (?P<number>  [0-9] [0-9A-Za-z_]* \.? )
    | (?P<open>    \( )
    # Not where a comment begins that has no end: each would be looked for up to the end of the statement.
    | (?P<mark>    [)\[\]{},;.*+\-%=<>!?:|^@&~] | /(?!\*) )
    """,
    re.VERBOSE | re.DOTALL,
)


def refusal(statement: str) -> str | None:
    """Why a reader's statement is not passed on, None when it is.

    Args:
        statement: its text; bytes that were not UTF-8 may stand in it in any form.
    """
    if len(statement) > MAX_STATEMENT_BYTES:
        return f"a statement has at most {MAX_STATEMENT_BYTES} bytes, received {len(statement)}"
    if "\0" in statement:
        return f"cannot be read at character {statement.index(chr(0))}: a NUL"
    position, ended = 0, False
    first = previous = kind = ""
    # What must come next of `printf('…',`.
    printing = ""
    # Whether nothing stands between this token and the one before.
    adjacent = False
    for _ in range(_MAX_TOKENS):
        if position == len(statement):
            return None
        token = _TOKEN.match(statement, position)
        if token is None:
            return _unreadable(statement, position)
        position = token.end()
        group = token.lastgroup or ""
        if group in {"space", "comment"}:
            if group == "comment" and ("\r" in token[0].rstrip("\r") or "/*" in token[0][2:]):
                return "a comment holds no carriage return and no other comment"
            adjacent = False
            continue
        if ended:
            return "one statement at a time"
        if printing and (group if printing in {"open", "string"} else token[0]) not in printing:
            return "printf is called with its format as one string"
        if printing == "string" and _WIDE.search(token[0]):
            return "a format of printf has widths of at most three digits, no * and no backslash"
        printing = {"open": "string", "string": ",)"}.get(printing, "")
        if group == "open":
            if kind in {"word", "quoted"} and not _is_allowed(previous.lower()):
                return f"{previous[:100]!r} is not among the names that a reader may call"
            if kind == "number" or (kind == "mark" and previous in {"}", "]", "?"}):
                return f"a reader calls functions by name, received {previous[:100]!r} before a parenthesis"
        if token[0] == "/" and previous == "/" and adjacent:
            return "a comment that begins with //; write -- instead"
        if group == "string" and adjacent and kind in {"word", "number"} and "\\" in token[0]:
            # x'…' and b'…' have no escapes, so the string would end elsewhere.
            return f"a string behind {previous[:100]!r} holds no backslash"
        if group == "word" and previous.lower() == "into" and token[0].lower() == "outfile":
            return "INTO OUTFILE writes a file"
        if not first and group != "open":
            first = token[0].lower()
            if group != "word" or first not in _FIRST_WORDS:
                words = ", ".join(_FIRST_WORDS).upper()
                return f"a reader's statement begins with one of {words}; received {token[0][:100]!r}"
        if group in {"word", "quoted"}:
            name = _unquoted(token[0], group).lower()
            if name in refused_names():
                return f"{name!r} is a function that readers do not have; a column of this name needs another"
            if name == "printf":
                printing = "open"
            if name == "identifier" and previous == ":":
                return "parameters of type Identifier are not taken: write the name"
        if group == "word" and token[0].lower() in {"settings", "set"}:
            # A table or column of another, as system.settings, and SHOW SETTINGS LIKE speak of none.
            is_name = (kind == "mark" and previous == ".") or _SHOWN.match(statement, 0, position) is not None
            if not is_name and (token[0].lower() == "settings" or first == "set"):
                return _refusal_of_settings(statement[position:])
        ended = token[0] == ";"
        kind, adjacent = group, True
        previous = _unquoted(token[0], group)
    return f"a statement has at most {_MAX_TOKENS} words, signs, spaces and comments"


def _refusal_of_settings(text: str) -> str | None:
    """Why what stands behind SETTINGS or SET is refused: settings, then FORMAT and settings again, then the end."""
    position = 0
    expected = "setting"
    while True:
        gap = _GAP.match(text, position)
        position = gap.end() if gap else position
        if expected == "setting":
            found = _ONE_SETTING.match(text, position)
            if found is None:
                return f"settings end a statement, as `name = value, …`; received {text[position : position + 40]!r}"
            if found["name"] not in changeable_settings():
                return f"setting {found['name'][:100]!r} is not among those that a reader may change (docs/store.md)"
            position, expected = found.end(), "more"
            continue
        more = _BEHIND_SETTINGS.match(text, position)
        if more is None:
            return f"settings end a statement; received {text[position : position + 40]!r}"
        position = more.end()
        if more["end"] is not None:
            return None
        if more["format"] is None:
            expected = "setting"


def _unquoted(token: str, group: str) -> str:
    return token[1:-1].replace('""', '"').replace("``", "`") if group == "quoted" else token


def _unreadable(statement: str, position: int) -> str:
    character = statement[position]
    what = {
        "$": "a heredoc or a name with $",
        "#": "a comment that begins with #; write -- instead",
        "'": "a string that does not end",
        '"': "a quoted name that does not end or holds a backslash",
        "`": "a quoted name that does not end or holds a backslash",
        "/": "a comment that does not end",
    }.get(character, "a character that stands for nothing outside of quotes")
    return f"cannot be read at character {position}, {character!r}: {what}"


def _is_allowed(name: str) -> bool:
    """Whether it is one of the names, or an aggregate function of them with combinators, as in `argMaxMergeIf`."""
    names = allowed_names()
    if len(name) > _MAX_NAME_CHARACTERS:
        return False
    while name not in names:
        suffix = next((each for each in _COMBINATORS if name.endswith(each) and name != each), None)
        if suffix is None:
            return False
        name = name.removesuffix(suffix)
    return True


@cache
def changeable_settings() -> frozenset[str]:
    """Names of settings that a statement may speak of. The engine refuses values of its own that are fixed."""
    return frozenset(limits.CHANGEABLE) | limits.LOWERED | frozenset(limits.FIXED)


def allowed_names() -> frozenset[str]:
    """Names in lower case that may stand before a parenthesis."""
    return _listed("names.txt")


def refused_names() -> frozenset[str]:
    """Functions of the engine that are not among those, in lower case."""
    return _listed("refused.txt")


@cache
def _listed(file: str) -> frozenset[str]:
    lines = files("sluiceway.gate").joinpath(file).read_text("ascii").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))
