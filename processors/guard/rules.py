"""Redaction rules as an operator writes them: where they look, what they look for, what they do."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from schemas.settings import Section

Action = Literal["drop", "mask", "hash"]
Attributes = Literal["resource", "scope", "span", "event", "link", "log", "point", "exemplar"]
Text = Literal[
    "body",
    "status",
    "name",
    "span.name",
    "event.name",
    "severity_text",
    "trace_state",
    "scope.name",
    "scope.version",
    "schema_url",
    "metric.name",
    "metric.description",
    "metric.unit",
]
Place = Attributes | Literal["key"] | Text
# Where values have names, what those names are, and where there is text alone.
ATTRIBUTES: tuple[Attributes, ...] = get_args(Attributes)
KEY: Literal["key"] = "key"
TEXTS: tuple[Text, ...] = get_args(Text)


class RedactionRule(Section):
    """One rule. Values are taken in the order of the rules: each sees what the ones before it left."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$", description="Says in counts which rule it was.")
    action: Action = Field(
        description="`drop` removes the attribute, or empties the text. `mask` puts `****` in its place. `hash` puts "
        "a keyed hash there, so that equal values stay equal."
    )
    attributes: tuple[str, ...] = Field(
        (), description="Attribute names, with `*` and `?`, in any case of letters; none means every name."
    )
    pattern: str | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        description="Regular expression (RE2) that a value must contain; `mask` and `hash` replace what it matches, "
        "`drop` the whole value. None means every value.",
    )
    where: tuple[Place, ...] = Field(
        (),
        description="Where it looks. None means the values of all attributes and, where the rule names no attributes, "
        "log bodies and status messages. Every other place, names of attributes (`key`) among them, only where it is "
        "said.",
    )

    @field_validator("attributes")
    @classmethod
    def _names(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if any(not name or len(name) > 1000 for name in names):
            raise ValueError("names must have 1 to 1000 characters")
        return names

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        # Not at the top: commands that read settings would all wait for it.
        import pyarrow as pa  # noqa: PLC0415
        import pyarrow.compute as pc  # noqa: PLC0415

        # Not converted from a list, at which pyarrow looks for pandas: processors/decode/no_pandas.py.
        empty = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(bytes(8)), pa.py_buffer(b"")])
        try:
            matches_nothing = pc.match_substring_regex(empty, pattern)[0].as_py()
        except pa.ArrowInvalid as error:
            raise ValueError(f"must be a regular expression of RE2 ({error})") from error
        if matches_nothing:
            raise ValueError("must not match the empty text, which every value contains")
        return pattern

    @model_validator(mode="after")
    def _says_what(self) -> Self:
        texts = [place for place in self.where if place in TEXTS]
        if self.attributes and texts:
            raise ValueError(f"attributes: must be left out where it is {', '.join(texts)}, which has no names")
        if not (self.attributes or self.pattern or self.where):
            raise ValueError("needs attributes, a pattern, or where: a rule for every value everywhere is a mistake")
        return self

    @cached_property
    def places(self) -> frozenset[Place]:
        """Where it looks."""
        if self.where:
            return frozenset(self.where)
        return frozenset(ATTRIBUTES if self.attributes else (*ATTRIBUTES, "body", "status"))

    @cached_property
    def names_regex(self) -> str | None:
        """RE2 for the attribute names, None for every name."""
        if not self.attributes:
            return None
        parts = (
            "".join({"*": ".*", "?": "."}.get(letter) or re.escape(letter) for letter in name)
            for name in self.attributes
        )
        return rf"(?is)\A(?:{'|'.join(parts)})\z"
