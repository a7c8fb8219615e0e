"""Attribute maps as arrays of entries, in the three shapes that columns have them: a map a row, a list of maps a row,
and a map a group that many rows share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.decode.marks import readings, stored
from processors.decode.strings import Array
from processors.guard.rules import RedactionRule
from processors.guard.texts import chosen, rewritten
from processors.guard.values import Values, values_of, with_texts

_NONE = np.zeros(0, np.int64)


def apply(values: Values, at: Array, rule: RedactionRule, key: bytes, *, marked: bool = False) -> Array:
    """Apply a rule to the values at these indexes; the indexes of those that it was about. `drop` leaves them there.

    Marked values are read as the text that they are and, if the rule is not about that, as the base64 that is stored.
    """
    texts, which = values.distinct(at)
    texts, as_stored = readings(texts) if marked else (texts, texts)
    about = chosen(texts, rule)
    if as_stored is not texts:
        only_stored = chosen(as_stored, rule) & ~about
        texts = pc.if_else(pa.array(only_stored), as_stored, texts)
        about = about | only_stored
    if not about.any():
        return at[:0]
    hit = about[which]
    if rule.action != "drop":
        # Numbered among the texts that the rule is about.
        number = np.cumsum(about) - 1
        values.put(at[hit], number[which[hit]], rewritten(texts.filter(pa.array(about)), rule, key))
    return at[hit]


def drop_texts(values: Values, at: Array) -> None:
    """Empty these texts."""
    values.put(at, np.zeros(len(at), np.int64), pa.array([""], pa.string()))


def take_marks_away(values: Values) -> bool:
    """Put values that are still marked as they are stored; whether there were any."""
    at = values.marked()
    if len(at):
        texts, which = values.distinct(at)
        values.put(at, which, stored(texts))
    return len(at) > 0


@dataclass(slots=True)
class Entries:
    """The entries of the maps of one column, and the way back to its rows."""

    offsets: Array
    keys: Array
    names: pa.StringArray
    values: Values
    marked: bool

    @classmethod
    def of(cls, maps: pa.MapArray, *, marked: bool) -> Entries:
        """Of a map column, as the decoder makes it: without nulls, not sliced; `marked`: values may have marks."""
        keys = maps.keys
        return cls(maps.offsets.to_numpy(), keys.indices.to_numpy(), keys.dictionary, values_of(maps.items), marked)

    def redact_values(self, rule: RedactionRule, key: bytes) -> Array:
        """Apply a rule to values; the map of each entry that it was about."""
        at = self._named(rule)
        if not len(at):
            return at
        return self._done(apply(self.values, at, rule, key, marked=self.marked), rule)

    def redact_keys(self, rule: RedactionRule, key: bytes) -> Array:
        """Apply a rule to names; the map of each entry that it was about. Maps stay sorted by name."""
        at = self._named(rule)
        about = chosen(self.names, rule)
        hit = at[about[self.keys[at]]]
        if not len(hit) or rule.action == "drop":
            return self._done(hit, rule)
        self.names, codes = with_texts(self.names, rewritten(self.names.filter(pa.array(about)), rule, key))
        self.keys = self.keys.astype(np.uint32)
        self.keys[hit] = codes[(np.cumsum(about) - 1)[self.keys[hit]]]
        maps = self._done(hit, rule)
        self._sort(maps)
        return maps

    def _done(self, hit: Array, rule: RedactionRule) -> Array:
        maps = np.searchsorted(self.offsets, hit, side="right") - 1
        if rule.action == "drop" and len(hit):
            kept = np.ones(len(self.keys), np.bool_)
            kept[hit] = False
            before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)
            self.offsets = before[self.offsets]
            self._take(np.flatnonzero(kept))
        return maps

    def _take(self, at: Array) -> None:
        self.keys = self.keys[at]
        self.values.take(at)

    def _sort(self, maps: Array) -> None:
        # Of these maps alone, and stably: equal names keep their order, as the decoder has it.
        changed = np.zeros(len(self.offsets) - 1, np.bool_)
        changed[maps] = True
        map_of = np.repeat(np.arange(len(changed)), np.diff(self.offsets))
        at = np.flatnonzero(changed[map_of])
        rank = np.empty(len(self.names), np.int64)
        rank[pc.sort_indices(self.names).to_numpy()] = np.arange(len(self.names))
        order = np.arange(len(self.keys))
        order[at] = at[np.lexsort((rank[self.keys[at]], map_of[at]))]
        self._take(order)

    def _named(self, rule: RedactionRule) -> Array:
        if rule.names_regex is None:
            return np.arange(len(self.keys))
        has_name = pc.match_substring_regex(self.names, rule.names_regex).to_numpy(zero_copy_only=False)
        if not has_name.any():
            return _NONE
        return np.flatnonzero(has_name[self.keys])

    def array(self) -> pa.MapArray:
        """The column as it is now."""
        keys = pa.DictionaryArray.from_arrays(pa.array(self.keys), self.names, safe=False)
        return pa.MapArray.from_arrays(pa.array(self.offsets), keys, self.values.array())
