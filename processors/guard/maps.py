"""Attribute maps as arrays of entries, in the three shapes that columns have them: a map a row, a list of maps a row,
and a map a group that many rows share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from processors.decode.strings import Array
from processors.guard.rules import RedactionRule
from processors.guard.texts import chosen, rewritten
from processors.guard.values import Values, values_of


def apply(values: Values, at: Array, rule: RedactionRule, key: bytes) -> Array:
    """Apply a rule to the values at these indexes; the indexes of those that it was about. `drop` leaves them there."""
    texts, which = values.distinct(at)
    about = chosen(texts, rule)
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


@dataclass(slots=True)
class Entries:
    """The entries of the maps of one column, and the way back to its rows."""

    offsets: Array
    keys: Array
    names: pa.StringArray
    values: Values

    @classmethod
    def of(cls, maps: pa.MapArray) -> Entries:
        """Of a map column, as the decoder makes it: without nulls, not sliced."""
        return cls(maps.offsets.to_numpy(), maps.keys.indices.to_numpy(), maps.keys.dictionary, values_of(maps.items))

    def redact(self, rule: RedactionRule, key: bytes) -> Array:
        """Apply a rule; the map of each entry that it was about."""
        at = self._named(rule)
        if not len(at):
            return at
        hit = apply(self.values, at, rule, key)
        maps = np.searchsorted(self.offsets, hit, side="right") - 1
        if rule.action == "drop" and len(hit):
            kept = np.ones(len(self.keys), np.bool_)
            kept[hit] = False
            before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int32)
            self.offsets = before[self.offsets]
            self.keys = self.keys[kept]
            self.values.keep(kept)
        return maps

    def _named(self, rule: RedactionRule) -> Array:
        if rule.names_regex is None:
            return np.arange(len(self.keys))
        has_name = pc.match_substring_regex(self.names, rule.names_regex).to_numpy(zero_copy_only=False)
        if not has_name.any():
            return np.zeros(0, np.int64)
        return np.flatnonzero(has_name[self.keys])

    def array(self) -> pa.MapArray:
        """The column as it is now."""
        keys = pa.DictionaryArray.from_arrays(pa.array(self.keys), self.names, safe=False)
        return pa.MapArray.from_arrays(pa.array(self.offsets), keys, self.values.array())
