"""What redaction rules would change in records of the log: the rules' own code, run on decoded copies."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from processors.arena import Arena
from processors.decode import Decoded, decode
from processors.decode.marks import readings
from processors.guard.redact import MAPS, TEXT_COLUMNS, apply_rules
from processors.guard.rules import KEY, RedactionRule
from schemas.log import Record
from schemas.signals import Signal

_Value = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Change:
    """What one rule does to the values of one attribute, to names of attributes, or to one kind of text.

    Attributes:
        attribute: '' for texts, which have no names, and for names, which are values here.
        values: how many it is about.
        before, after: of one of them; `after` is None where the attribute is dropped.
    """

    signal: Signal
    rule: str
    place: str
    attribute: str
    values: int
    before: str
    after: str | None


@dataclass(frozen=True, slots=True)
class Preview:
    """Changes by rule and attribute, of so many items; `malformed` counts records that are dead letters anyway."""

    changes: Sequence[Change]
    items: int
    malformed: int


def preview(signal: Signal, records: Sequence[Record], rules: Sequence[RedactionRule], key: bytes) -> Preview:
    """Decode the records and apply the rules one after the other; nothing is written anywhere."""
    decoded = decode(signal, records, Arena(), marked=True)
    changes = [change for rule in rules for change in _changes(signal, decoded, rule, key)]
    return Preview(changes, int(decoded.items.sum()), len(decoded.faults))


def _changes(signal: Signal, decoded: Decoded, rule: RedactionRule, key: bytes) -> Iterator[Change]:
    before = Counter(_values(decoded, rule))
    apply_rules(decoded, [rule], key)
    after = Counter(_values(decoded, rule))
    came: dict[tuple[str, str], list[str]] = defaultdict(list)
    for place, name, value in (after - before).elements():
        came[place, name].append(value)
    went: dict[tuple[str, str], list[str]] = defaultdict(list)
    for place, name, value in (before - after).elements():
        went[place, name].append(value)
    for (place, name), values in sorted(went.items()):
        new = came.get((place, name))
        yield Change(signal, rule.name, place, name, len(values), values[0], new[0] if new else None)


def _values(decoded: Decoded, rule: RedactionRule) -> Iterator[_Value]:
    """(place, attribute, value) of all that the rule may look at."""
    for rows in decoded.tables.values():
        for column, place in MAPS.items():
            if column in rows.schema.names and place in rule.places:
                yield from ((place, name, value) for name, value in _texts(rows.column(column)))
            if column in rows.schema.names and KEY in rule.places:
                yield from ((KEY, "", name) for name, _ in _texts(rows.column(column)))
        for column, names in TEXT_COLUMNS.items():
            said = [name for name in names if name in rule.places]
            if column in rows.schema.names and said:
                yield from ((said[0], "", value) for _, value in _texts(rows.column(column)))


def _texts(array: pa.Array) -> Iterator[tuple[str, str]]:
    kind = array.type
    if pa.types.is_list(kind):
        yield from _texts(array.values)
    elif pa.types.is_map(kind):
        yield from zip(_plain(array.keys), _plain(array.items), strict=True)
    elif pa.types.is_dictionary(kind) and pa.types.is_map(kind.value_type):
        offsets = array.dictionary.offsets.to_pylist()
        entries = list(_texts(array.dictionary))
        for group in array.indices.to_pylist():
            yield from entries[offsets[group] : offsets[group + 1]]
    else:
        yield from (("", text) for text in _plain(array))


def _plain(array: pa.Array) -> list[str]:
    if pa.types.is_dictionary(array.type):
        values = _plain(array.dictionary)
        return [values[code] for code in array.indices.to_pylist()]
    # As bytes: a Collector's record may hold what is no UTF-8.
    as_text, _ = readings(array.cast(pa.string()))
    return [value.decode("utf-8", "replace") for value in as_text.cast(pa.binary()).to_pylist()]
