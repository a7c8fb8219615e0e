"""YAML and TOML that people write, read within bounds that hold before anything is built of it, checked or quoted.

A few hundred bytes of YAML may stand for gigabytes: an alias costs nothing until somebody walks or prints what it leads
to. So values are counted while the text is read, those behind aliases as often as they would be met.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from schemas.shown import shown_lines

MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_VALUES = 20_000
# What the texts of all values come to, those behind aliases each time.
MAX_TEXT_CHARACTERS = 1 << 20
# Arithmetic on a number of a hundred thousand digits takes seconds, and Python refuses to print one.
MAX_NUMBER_CHARACTERS = 64
_STRING = "tag:yaml.org,2002:str"
_MERGE = "tag:yaml.org,2002:merge"


class DocumentError(ValueError):
    """Text that is refused: the rule, with the value received where there is one.

    Attributes:
        rule: what must hold, and what was found.
        line: where, from 1; None when of the whole file.
    """

    def __init__(self, rule: str, line: int | None = None) -> None:
        super().__init__(rule if line is None else f"line {line}: {rule}")
        self.rule, self.line = rule, line


@dataclass(frozen=True, slots=True)
class Document:
    """One YAML document: its values, and the nodes that say where they stand; both None of an empty one."""

    values: Any
    node: yaml.Node | None


def read_text(path: Path) -> str:
    """A file's text, never more of it than `MAX_FILE_BYTES`.

    Raises:
        DocumentError: larger, or not UTF-8.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        raw = stream.read(MAX_FILE_BYTES + 1)
    if len(raw) > MAX_FILE_BYTES:
        raise DocumentError(f"must be at most {MAX_FILE_BYTES} bytes; got more")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise DocumentError(f"must be UTF-8; got byte 0x{raw[error.start]:02x}", line) from error


def parse_yaml(text: str) -> list[Document]:
    """All documents of a YAML text. Keys are scalars and differ within a mapping; tags build nothing but plain values.

    Raises:
        DocumentError: not YAML, or over a bound.
    """
    loader: _BoundedLoader | None = None
    try:
        loader = _BoundedLoader(text)
        documents = []
        while loader.check_node():
            node = loader.get_node()
            documents.append(Document(loader.construct_document(node), node))
        return documents
    except DocumentError:
        raise
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise DocumentError(_cut(error.problem or "not YAML"), mark.line + 1 if mark else None) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise DocumentError(f"must have no control characters; got U+{int(error.character):04X}", line) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError, KeyError, AttributeError, TypeError) as error:
        # A number or a time that its type does not hold; PyYAML lets Python's own errors through.
        raise DocumentError(
            _cut(str(error) or type(error).__name__), loader.read_to_line if loader else None
        ) from error
    finally:
        if loader is not None:
            loader.dispose()


def parse_toml(text: str) -> dict[str, Any]:
    """A TOML text as nested mappings.

    Raises:
        DocumentError: not TOML, or over a bound.
    """
    _bound_toml(text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        raise DocumentError(_cut(str(error)), int(at[1]) if at else None) from error
    except (ValueError, OverflowError, RecursionError) as error:
        # Python's own, of a number or a time that its type does not hold.
        rule = f"a number must have at most {MAX_NUMBER_CHARACTERS} characters, and a time must exist"
        raise DocumentError(rule) from error


def dump_yaml(value: Any, **options: Any) -> str:
    """YAML of a value, in which nothing acts on a terminal or turns text around; readers get exactly the value.

    Args:
        options: as PyYAML's `safe_dump` takes them.
    """
    text: str = yaml.safe_dump(value, allow_unicode=True, **options)
    # PyYAML escapes control characters and leaves what Unicode calls format characters.
    return text if shown_lines(text) == text else yaml.safe_dump(value, allow_unicode=False, **options)


class _BoundedLoader(yaml.SafeLoader):
    """Counts while nodes are composed: the scanner and the parser before it hold one token and one event at a time."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._values = self._characters = 0
        # Values and characters behind each anchor that is complete.
        self._behind: dict[int, tuple[int, int]] = {}

    @property
    def read_to_line(self) -> int:
        """Where the reader is, from 1."""
        return int(self.get_mark().line) + 1

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        values, characters = self._values, self._characters
        self._depth += 1
        self._must(self._depth, "nesting", MAX_DEPTH, "levels", line)
        if isinstance(event, yaml.AliasEvent):
            node = super().compose_node(parent, index)
            if id(node) not in self._behind:
                raise DocumentError(
                    f"must not contain itself; got *{_cut(str(event.anchor))} inside &{_cut(str(event.anchor))}", line
                )
            more_values, more_characters = self._behind[id(node)]
            self._count(more_values, more_characters, line, "aliases and values")
        else:
            self._count(1, len(event.value) if isinstance(event, yaml.ScalarEvent) else 0, line, "values")
            node = super().compose_node(parent, index)
            if event.anchor is not None:
                self._behind[id(node)] = (self._values - values, self._characters - characters)
        self._depth -= 1
        return node

    def compose_scalar_node(self, anchor: Any) -> yaml.ScalarNode:
        node = super().compose_scalar_node(anchor)
        if node.tag != _STRING:
            rule = "a number, a time or a word that is not text"
            self._must(len(node.value), rule, MAX_NUMBER_CHARACTERS, "characters", node.start_mark.line + 1)
        return node

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE:
                continue
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise DocumentError(f"a key must be a name; got a {key_node.id}", line)
            key = self.construct_object(key_node)
            if key in seen:
                raise DocumentError(f"key {_cut(repr(key))} is given twice", line)
            seen.add(key)
        return node

    def _count(self, values: int, characters: int, line: int, of: str) -> None:
        self._values += values
        self._characters += characters
        self._must(self._values, of, MAX_VALUES, "values", line)
        self._must(self._characters, f"the text of {of}", MAX_TEXT_CHARACTERS, "characters", line)

    @staticmethod
    def _must(got: int, what: str, most: int, unit: str, line: int) -> None:
        if got > most:
            raise DocumentError(f"{what} must come to at most {most} {unit}; got {got}", line)


# Strings and comments whole; of the rest what nests or names. Each alternative ends where the next may begin, so a text
# is walked once.
_TOML = re.compile(
    r'"""(?:[^"\\]|\\.|"(?!""))*+"""|\'\'\'(?:[^\']|\'(?!\'\'))*+\'\'\'|"(?:[^"\\\n]|\\.)*+"|\'[^\'\n]*+\'|#[^\n]*+|[][{}.=,\n]',
    re.DOTALL,
)


def _bound_toml(text: str) -> None:
    # tomllib walks every prefix of a dotted key for every part of it: 40 KB of `a.a.a` take 8 s.
    depth = parts = 0
    values = 1
    counted = 0
    for found in _TOML.finditer(text):
        met = found[0]
        if met == ".":
            parts += 1
        elif met in "[{":
            depth, parts, values = depth + 1, 0, values + 1
        elif met in "]}":
            depth, parts = max(0, depth - 1), 0
        elif met in "=,\n":
            parts = 0
            values += met != "\n"
        if max(depth, parts) >= MAX_DEPTH or values > MAX_VALUES:
            counted = found.start()
            break
    else:
        return
    what, most, unit, got = (
        ("values", MAX_VALUES, "values", values)
        if values > MAX_VALUES
        else ("nesting", MAX_DEPTH, "levels", max(depth, parts) + 1)
    )
    raise DocumentError(f"{what} must come to at most {most} {unit}; got {got}", text.count("\n", 0, counted) + 1)


def _cut(text: str) -> str:
    """An error may quote what it met; of a large value its beginning."""
    text = " ".join(text[:400].split())
    return text if len(text) <= 200 else text[:200] + "..."
