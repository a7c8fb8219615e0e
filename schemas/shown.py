"""Text that came from elsewhere, as it is shown to people: nothing in it acts on a terminal or turns a line around.

Control characters move the cursor and set colours; bidirectional overrides, separators and invisible characters make a
reader see something else than what is there (CVE-2021-42574). Each is shown by its code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet

# Unicode's general categories Cc, Cf, Zl and Zp, and lone surrogates, which no encoding takes.
_FORMAT = (
    "\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e\u200b-\u200f\u2028-\u202e\u2060-\u2064\u2066-\u206f"
    "\ufeff\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0001"
    "\U000e0020-\U000e007f\ud800-\udfff"
)
_ACTING = re.compile(f"[\x00-\x1f\x7f-\x9f{_FORMAT}]")
# Whitespace of JSON's own is not of the values: a serialiser writes theirs as escapes.
_ACTING_IN_JSON = re.compile(f"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f{_FORMAT}]")
_ACTING_IN_LINES = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f{_FORMAT}]")
# Unicode's property Bidi_Control.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def shown(text: str) -> str:
    """On one line, each acting character as its escape: `\\n`, `\\x1b`, `\\u202e`, `\\U000e0001`."""
    return text if text.isprintable() else _ACTING.sub(_escape, text)


def shown_lines(text: str) -> str:
    """As `shown`, with line ends and tabs left: of text whose lines are ours."""
    return _ACTING_IN_LINES.sub(_escape, text)


def json_exact(text: str) -> str:
    """JSON that says the same in characters that do not act: inside its strings `\\u202e` is the character itself."""
    return _ACTING_IN_JSON.sub(_json_escape, text)


def directions_shown(text: str) -> str:
    """Only what turns the direction of text as its escape; all else as it is."""
    return _TURNING.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    character = found[0]
    code = ord(character)
    if character in _SHORT:
        return _SHORT[character]
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if 0xDC80 <= code <= 0xDCFF:
        # A byte that was no UTF-8, passed on as it came.
        return found[0]
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def brief(value: object, most: int = 100) -> str:
    """`repr` of what was received, cut at `most` characters, at a cost that `most` bounds: however large, deep or long.

    A value that refuses a configuration is quoted; formatting it whole and cutting then would build the gigabytes that
    an alias stands for.
    """
    parts: list[str] = []
    size = 0
    for part in _pieces(value, most):
        parts.append(part)
        size += len(part)
        if size > most:
            return "".join(parts)[:most] + "..."
    return "".join(parts)


def cut(text: str, most: int = 500) -> str:
    """A message that may quote a value, its beginning."""
    return text if len(text) <= most else text[:most] + "..."


def _pieces(value: object, most: int) -> Iterator[str]:
    if isinstance(value, str | bytes):
        yield repr(value[: most + 1])
    elif isinstance(value, bool) or value is None:
        yield repr(value)
    elif isinstance(value, int):
        # Printing one takes the square of its digits, and Python refuses from 4,300 on.
        yield repr(value) if value.bit_length() < 4 * most else f"a whole number of {value.bit_length()} bits"
    elif isinstance(value, Mapping):
        yield "{"
        for number, (key, inner) in enumerate(value.items()):
            yield from _separated(number, key, most)
            yield ": "
            yield from _pieces(inner, most)
        yield "}"
    elif isinstance(value, list | tuple | AbstractSet):
        opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")") if isinstance(value, tuple) else "{}"
        yield opening
        for number, inner in enumerate(value):
            yield from _separated(number, inner, most)
        yield "," + closing if isinstance(value, tuple) and len(value) == 1 else closing
    else:
        yield repr(value)[: most + 1]


def _separated(number: int, value: object, most: int) -> Iterator[str]:
    if number:
        yield ", "
    yield from _pieces(value, most)
