"""Redaction of decoded rows: every place that a rule may look at, in whatever shape its column has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.decode.batch import ENVIRONMENT, SERVICE, VERSION, Decoded
from processors.decode.strings import Array
from processors.guard.maps import Entries, apply, drop_texts, take_marks_away
from processors.guard.rules import KEY, Place, RedactionRule
from processors.guard.values import CodedValues, Values, values_of

# Values of attributes in map columns, and columns of text alone, which more than one word may name.
MAPS: Mapping[str, Place] = {
    "ResourceAttributes": "resource",
    "ScopeAttributes": "scope",
    "SpanAttributes": "span",
    "Events.Attributes": "event",
    "Links.Attributes": "link",
    "LogAttributes": "log",
    "Attributes": "point",
    "Exemplars.FilteredAttributes": "exemplar",
}
TEXT_COLUMNS: Mapping[str, tuple[Place, ...]] = {
    "Body": ("body",),
    "StatusMessage": ("status",),
    "SpanName": ("name", "span.name"),
    "Events.Name": ("name", "event.name"),
    "EventName": ("name", "event.name"),
    "SeverityText": ("severity_text",),
    "TraceState": ("trace_state",),
    "Links.TraceState": ("trace_state",),
    "ScopeName": ("scope.name",),
    "ScopeVersion": ("scope.version",),
    "ResourceSchemaUrl": ("schema_url",),
    "ScopeSchemaUrl": ("schema_url",),
    "MetricName": ("metric.name",),
    "MetricDescription": ("metric.description",),
    "MetricUnit": ("metric.unit",),
}
# Bytes are values of attributes and log bodies, and so are marks.
_MAY_BE_MARKED = (*MAPS, "Body")
_NONE = np.zeros(0, np.int64)
# Columns that repeat a resource attribute: what is redacted there must not stand here.
_REPEATED: Mapping[str, tuple[str, ...]] = {
    "ServiceName": (SERVICE.decode(),),
    "ServiceVersion": (VERSION.decode(),),
    "Environment": tuple(name.decode() for name in ENVIRONMENT),
}


@dataclass(slots=True)
class Redacted:
    """What redaction did to a batch.

    Attributes:
        rows: by table, which rows have a value that a rule was about, a boolean for each.
        values: by rule, how many values it was about.
    """

    rows: dict[str, Array] = field(default_factory=dict)
    values: Counter[str] = field(default_factory=Counter)


def redact(decoded: Decoded, rules: Sequence[RedactionRule], key: bytes) -> Redacted:
    """Apply the rules to all tables of a batch, in place of what was there; a pure function of its arguments.

    Of a batch that was decoded with marks, the marks are taken away: it is ready to be written, also without rules.
    """
    result = apply_rules(decoded, rules, key)
    take_all_marks_away(decoded)
    return result


def apply_rules(decoded: Decoded, rules: Sequence[RedactionRule], key: bytes) -> Redacted:
    """As `redact`, leaving marks where they are for further rules."""
    result = Redacted()
    for name, rows in decoded.tables.items():
        decoded.tables[name], result.rows[name] = _redact_rows(rows, rules, key, result.values, marked=decoded.marked)
    return result


def take_all_marks_away(decoded: Decoded) -> None:
    """Make values that are still marked what is stored of them."""
    if not decoded.marked:
        return
    for table, rows in decoded.tables.items():
        columns = dict(zip(rows.schema.names, rows.columns, strict=True))
        for name in _MAY_BE_MARKED:
            if name in columns:
                column = _column(name, columns[name], marked=True)
                if column.take_marks_away():
                    _put(columns, name, column)
        decoded.tables[table] = pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
    decoded.marked = False


def _redact_rows(
    rows: pa.RecordBatch, rules: Sequence[RedactionRule], key: bytes, values: Counter[str], *, marked: bool
) -> tuple[pa.RecordBatch, Array]:
    touched = np.zeros(rows.num_rows, np.bool_)
    columns = dict(zip(rows.schema.names, rows.columns, strict=True))
    for name in (*MAPS, *TEXT_COLUMNS):
        mine = [rule for rule in rules if not rule.places.isdisjoint(_places(name))]
        if name not in columns or not mine:
            continue
        column = _column(name, columns[name], marked=marked)
        changed = False
        for rule in mine:
            count = column.redact(rule, key, touched)
            values[rule.name] += count
            changed |= count > 0
        if changed:
            _put(columns, name, column)
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns)), touched


def _places(column: str) -> tuple[Place, ...]:
    return (MAPS[column], KEY) if column in MAPS else TEXT_COLUMNS[column]


def _put(columns: dict[str, pa.Array], name: str, column: _Maps | _SharedMaps | _Texts) -> None:
    columns[name] = column.array()
    if name == "ResourceAttributes":
        for repeated, attributes in _REPEATED.items():
            columns[repeated] = _first_of(columns[name], attributes)


class _Maps:
    """Attributes: a map a row, or a list of maps."""

    def __init__(self, array: pa.Array, place: Place, *, marked: bool) -> None:
        self._place = place
        self._outer = array.offsets if pa.types.is_list(array.type) else None
        self._entries = Entries.of(array if self._outer is None else array.values, marked=marked)

    def redact(self, rule: RedactionRule, key: bytes, touched: Array) -> int:
        at = _redact_entries(self._entries, self._place, rule, key)
        rows = at if self._outer is None else np.searchsorted(self._outer.to_numpy(), at, side="right") - 1
        touched[rows] = True
        return len(at)

    def take_marks_away(self) -> bool:
        return take_marks_away(self._entries.values)

    def array(self) -> pa.Array:
        maps = self._entries.array()
        return maps if self._outer is None else pa.ListArray.from_arrays(self._outer, maps)


class _SharedMaps:
    """Attributes of a resource or a scope: a map a group, and the group of each row."""

    def __init__(self, array: pa.DictionaryArray, place: Place, *, marked: bool) -> None:
        self._place = place
        self._groups = array.indices
        self._entries = Entries.of(array.dictionary, marked=marked)

    def redact(self, rule: RedactionRule, key: bytes, touched: Array) -> int:
        at = _redact_entries(self._entries, self._place, rule, key)
        if not len(at):
            return 0
        of_group = np.bincount(at, minlength=len(self._entries.offsets) - 1)[self._groups.to_numpy()]
        np.logical_or(touched, of_group > 0, out=touched)
        return int(of_group.sum())

    def take_marks_away(self) -> bool:
        return take_marks_away(self._entries.values)

    def array(self) -> pa.Array:
        return pa.DictionaryArray.from_arrays(self._groups, self._entries.array(), safe=False)


class _Texts:
    """Text alone: one a row, or a list of them."""

    def __init__(self, array: pa.Array, *, marked: bool) -> None:
        self._marked = marked
        self._outer = array.offsets if pa.types.is_list(array.type) else None
        inner = array if self._outer is None else array.values
        self._count = len(inner)
        self._values: Values = values_of(inner)

    def redact(self, rule: RedactionRule, key: bytes, touched: Array) -> int:
        if not self._count:
            return 0
        at = apply(self._values, np.arange(self._count), rule, key, marked=self._marked)
        if rule.action == "drop":
            drop_texts(self._values, at)
        rows = at if self._outer is None else np.searchsorted(self._outer.to_numpy(), at, side="right") - 1
        touched[rows] = True
        return len(at)

    def take_marks_away(self) -> bool:
        return take_marks_away(self._values)

    def array(self) -> pa.Array:
        inner = self._values.array()
        return inner if self._outer is None else pa.ListArray.from_arrays(self._outer, inner)


def _redact_entries(entries: Entries, place: Place, rule: RedactionRule, key: bytes) -> Array:
    """Values first, which a rule may choose by the names that it changes then."""
    values = entries.redact_values(rule, key) if place in rule.places else _NONE
    return np.concatenate([values, entries.redact_keys(rule, key)]) if KEY in rule.places else values


def _column(name: str, array: pa.Array, *, marked: bool) -> _Maps | _SharedMaps | _Texts:
    if name not in MAPS:
        return _Texts(array, marked=marked and name == "Body")
    return (_SharedMaps if pa.types.is_dictionary(array.type) else _Maps)(array, MAPS[name], marked=marked)


def _first_of(resources: pa.DictionaryArray, attributes: Sequence[str]) -> pa.DictionaryArray:
    """For each row the value of the first of the attributes that its resource has, '' where it has none."""
    maps = resources.dictionary
    offsets, keys = maps.offsets.to_numpy(), maps.keys.indices.to_numpy()
    values = CodedValues(maps.items)
    dictionary = pa.concat_arrays([values.dictionary, pa.array([""], pa.string())])
    codes = maps.items.indices.to_numpy()
    of_group = np.full(len(maps), len(dictionary) - 1, np.uint32)
    for name in reversed(attributes):
        code = pc.index(maps.keys.dictionary, pa.scalar(name, pa.string())).as_py()
        # Backwards, so that of equal keys the first stands, as the decoder has it.
        at = np.flatnonzero(keys == code)[::-1]
        of_group[np.searchsorted(offsets, at, side="right") - 1] = codes[at]
    return pa.DictionaryArray.from_arrays(pa.array(of_group[resources.indices.to_numpy()]), dictionary, safe=False)
