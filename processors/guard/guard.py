"""The guards of one signal's batches: decided once for each batch, then applied the same way at every attempt."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from processors.decode import Decoded
from processors.decode.strings import Array
from processors.guard.budgets import Budgets, Decision, Window, repeat
from processors.guard.fold import fold
from processors.guard.kept import Batch, Kept, rules_text
from processors.guard.redact import Redacted, redact
from processors.guard.rules import RedactionRule
from processors.guard.series import Group, Points, points_of
from processors.guard.texts import key_id
from processors.insert import StoreInserter
from schemas.log import OffsetRange, Record
from schemas.signals import Signal
from schemas.telemetry import counter

_log = logging.getLogger(__name__)
WINDOW_S = 3600
# Partitions may lag behind one another; what is forgotten is read again.
_WINDOWS = 3
# Series that other processes admitted are asked for at most so often, and only while there are new ones.
_LOOK_S = 15.0
# Rows are seen later than the time that stands in them.
_LOOK_BACK_S = 60


@dataclass(frozen=True, slots=True)
class Policy:
    """What the operator wants guarded. `budgets` None counts no series."""

    rules: tuple[RedactionRule, ...] = ()
    key: bytes = b""
    budgets: Budgets | None = None


UNGUARDED = Policy()


@dataclass(slots=True)
class Guarded:
    """What the guards did to a batch: by table, which rows were redacted and which folded, a boolean for each."""

    redacted: dict[str, Array] = field(default_factory=dict)
    folded: dict[str, Array] = field(default_factory=dict)


@dataclass(slots=True)
class _Known:
    """What this process knows of one window: its series, and those that the store does not have yet."""

    series: Window = field(default_factory=Window)
    unrecorded: list[tuple[Group, Array]] = field(default_factory=list)
    newest: int = 0
    looked_at_s: float = -_LOOK_S


@dataclass(slots=True)
class _Partition:
    """What this process recorded of one partition, while nobody else can have read it meanwhile."""

    next_offset: int
    policy: tuple[str, str] | None = None
    # By window and group: how many series were said to stay whole.
    whole: dict[tuple[int, Group], int] = field(default_factory=dict)


class Guard:
    """Used by the one thread that writes a signal's batches."""

    def __init__(self, signal: Signal, store: StoreInserter, policy: Policy) -> None:
        self._signal = signal
        self._policy = policy
        self._kept = Kept(store)
        self._text = rules_text(policy.rules) if policy.rules else ""
        self._key_id = key_id(policy.key) if any(rule.action == "hash" for rule in policy.rules) else ""
        self._partitions: dict[int, _Partition] = {}
        self._windows: OrderedDict[int, _Known] = OrderedDict()
        self._redactions = counter("sluiceway_processor_redactions_total")
        self._folded = counter("sluiceway_processor_folded_points_total")
        self._admitted = counter("sluiceway_processor_series_admitted_total")

    @property
    def reads_bytes(self) -> bool:
        """Whether batches that are begun are to be decoded with marks around bytes values that are text."""
        return bool(self._policy.rules)

    def announce(self, log_id: str, records: Sequence[Record]) -> None:
        """Before a batch is frozen: record which rules hold from its first record on, where that changed.

        So a batch that is frozen already is finished under the rules that it was begun with, whatever they are now.
        """
        first = records[0]
        here = self._partitions.get(first.partition)
        if here is None or here.next_offset != first.offset:
            # Ours for the first time, or somebody else's meanwhile.
            here = self._partitions[first.partition] = _Partition(first.offset)
        if here.policy is None:
            batch = Batch(log_id, first.topic, first.partition, first.offset, first.offset)
            found = self._kept.policy(batch)
            here.policy = (found[1], found[2]) if found else ("", "")
            if here.policy != (self._text, self._key_id):
                self._kept.record_policy(batch, self._text or "[]", self._key_id)
                here.policy = self._text, self._key_id

    def first(self, log_id: str, records: Sequence[Record], offsets: OffsetRange, decoded: Decoded) -> Guarded:
        """Guard a batch that was just frozen: decide, record what a restart must know, then change the rows.

        Raises:
            StoreUnavailableError, PermanentError: nothing of the batch is stored; try again with `again`.
        """
        guarded = Guarded()
        self._redact(decoded, self._policy.rules, self._policy.key, guarded)
        if self._signal is not Signal.METRICS or self._policy.budgets is None:
            return guarded
        batch = _batch(log_id, records, offsets)
        tables = {name: points_of(rows) for name, rows in decoded.tables.items()}
        known = self._known(batch.window)
        if known.series.has_all(tables):
            return guarded
        self._look(batch.window, known)
        decision = known.series.decide(tables, self._policy.budgets)
        self._record_series(batch, known, decision)
        if decision.spent:
            self._record_overflows(batch, known, decision)
        _fold(decoded, tables, decision, guarded)
        return guarded

    def again(self, log_id: str, records: Sequence[Record], offsets: OffsetRange, decoded: Decoded) -> Guarded:
        """Guard a batch that was found frozen, as the attempt that froze it did; errors as `first`."""
        guarded = Guarded()
        batch = _batch(log_id, records, offsets)
        self._partitions.pop(batch.partition, None)
        found = self._kept.policy(batch)
        rules = self._with_key(found[0], found[2]) if found is not None else ()
        self._redact(decoded, rules, self._policy.key, guarded)
        if self._signal is not Signal.METRICS:
            return guarded
        recorded = self._kept.recorded(batch)
        if self._policy.budgets is None and not recorded:
            return guarded
        tables = {name: points_of(rows) for name, rows in decoded.tables.items()}
        known = self._known(batch.window)
        decision = repeat(tables, recorded, known.series)
        self._record_series(batch, known, decision)
        _fold(decoded, tables, decision, guarded)
        return guarded

    def done(self, partition: int, offsets: OffsetRange, guarded: Guarded) -> None:
        """After a batch was committed."""
        if partition in self._partitions:
            self._partitions[partition].next_offset = offsets.last + 1
        if folded := sum(int(rows.sum()) for rows in guarded.folded.values()):
            self._folded.add(folded, {"signal": self._signal.value})

    def _redact(self, decoded: Decoded, rules: Sequence[RedactionRule], key: bytes, guarded: Guarded) -> None:
        if not rules and not decoded.marked:
            return
        done: Redacted = redact(decoded, rules, key)
        guarded.redacted = done.rows
        for rule, count in done.values.items():
            if count:
                self._redactions.add(count, {"signal": self._signal.value, "rule": rule})

    def _with_key(self, rules: Sequence[RedactionRule], key_name: str) -> Sequence[RedactionRule]:
        if not key_name or key_name == key_id(self._policy.key):
            return rules
        if self._policy.key:
            _log.warning("%s: a batch that was hashed with key %s is finished with another one", self._signal, key_name)
            return rules
        # Without a key a hash could be found by trying.
        _log.warning("%s: a batch that was hashed with key %s is finished with masks", self._signal, key_name)
        return [rule.model_copy(update={"action": "mask"}) if rule.action == "hash" else rule for rule in rules]

    def _known(self, window: int) -> _Known:
        known = self._windows.get(window)
        if known is None:
            known = _Known()
            self._look(window, known)
            self._windows[window] = known
            for old in list(self._windows)[:-_WINDOWS]:
                if not self._windows[old].unrecorded:
                    del self._windows[old]
        self._windows.move_to_end(window)
        return known

    def _look(self, window: int, known: _Known) -> None:
        now_s = time.monotonic()
        if now_s - known.looked_at_s < _LOOK_S:
            return
        found, known.newest = self._kept.series(window, max(known.newest - _LOOK_BACK_S, 0))
        for group, series in found:
            known.series.add(group, series)
        known.looked_at_s = now_s

    def _record_series(self, batch: Batch, known: _Known, decision: Decision) -> None:
        # Kept until the store has them: a batch that fails is tried again with what it has already counted.
        known.unrecorded += decision.admitted
        if known.unrecorded:
            self._kept.record_series(batch, known.unrecorded)
            self._admitted.add(sum(len(series) for _, series in known.unrecorded))
            known.unrecorded = []

    def _record_overflows(self, batch: Batch, known: _Known, decision: Decision) -> None:
        said = self._partitions[batch.partition].whole
        whole = {
            group: series
            for group, series in known.series.of_groups(decision.spent).items()
            if said.get((batch.window, group)) != len(series)
        }
        self._kept.record_overflows(batch, decision, whole)
        said |= {(batch.window, group): len(series) for group, series in whole.items()}
        for old in [key for key in said if key[0] < batch.window]:
            del said[old]


def _batch(log_id: str, records: Sequence[Record], offsets: OffsetRange) -> Batch:
    # The newest record's hour, as the ledger's time: the same records, the same window.
    received_s = max(record.received_at_ns for record in records) // 10**9
    first = records[0]
    window = min(max(received_s, 0) // WINDOW_S * WINDOW_S, 2**32 - WINDOW_S)
    return Batch(log_id, first.topic, first.partition, offsets.first, offsets.last, window)


def _fold(decoded: Decoded, tables: dict[str, Points], decision: Decision, guarded: Guarded) -> None:
    for name, points in tables.items():
        folded = decision.folded[name]
        if not folded.any():
            continue
        level_of = np.array([decision.spent[group].level if group in decision.spent else "" for group in points.groups])
        decoded.tables[name] = fold(decoded.tables[name], folded, level_of[points.group_of_row[folded]])
        guarded.folded[name] = folded
