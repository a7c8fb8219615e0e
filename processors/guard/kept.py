"""What guards keep in the store, so that a batch is guarded the same way at every attempt, by whatever process.

Three tables. `redaction_policies`: from which offset of a partition on which rules hold. `series_admitted`: the series
of each window. `series_overflows`: what each batch folded, and at the first time which series stayed whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import TypeAdapter, ValidationError

from processors import native
from processors.arena import Arena
from processors.decode.strings import Array
from processors.guard.budgets import Decision, Spent
from processors.guard.rules import RedactionRule
from processors.guard.series import Group
from processors.insert import StoreInserter
from schemas.columns import LC, Column
from schemas.errors import PermanentError

_RULES = TypeAdapter(tuple[RedactionRule, ...])
_GROUP = (Column("TenantId", LC), Column("ServiceName", LC), Column("MetricName", LC))
_ADMITTED = (Column("Window", "DateTime"), *_GROUP, Column("Series", "UInt64"))
_OVERFLOWS = (
    Column("Window", "DateTime"),
    *_GROUP,
    Column("LogId", LC),
    Column("Topic", LC),
    Column("Partition", "UInt32"),
    Column("FirstOffset", "UInt64"),
    Column("LastOffset", "UInt64"),
    Column("Level", LC),
    Column("Budget", "UInt64"),
    Column("Folded", "UInt64"),
    Column("SaysWhole", "UInt8"),
    Column("Whole", "Array(UInt64)"),
)
# In hex, because a name may be bytes that no client decodes.
_GROUP_SQL = "hex(TenantId), hex(ServiceName), hex(MetricName)"
_BATCH = "LogId = {log_id:String} AND Topic = {topic:String} AND Partition = {partition:UInt32}"
_POLICY = f"""SELECT Rules, KeyId FROM {{database:Identifier}}.redaction_policies
    WHERE {_BATCH} AND FirstOffset <= {{first:UInt64}}
    ORDER BY FirstOffset DESC, RecordedAt DESC LIMIT 1"""
_SERIES = f"""SELECT {_GROUP_SQL}, groupUniqArray(Series), toUInt32(max(SeenAt))
    FROM {{database:Identifier}}.series_admitted
    WHERE Window = toDateTime({{window:UInt32}}) AND SeenAt >= toDateTime({{since:UInt32}})
    GROUP BY TenantId, ServiceName, MetricName"""
_RECORDED = f"""SELECT {_GROUP_SQL}, argMax(Level, FirstOffset), argMax(Budget, FirstOffset),
    argMaxIf(Whole, FirstOffset, SaysWhole = 1)
    FROM {{database:Identifier}}.series_overflows WHERE {_BATCH} AND Window = toDateTime({{window:UInt32}})
        AND FirstOffset <= {{first:UInt64}}
    GROUP BY TenantId, ServiceName, MetricName HAVING max(FirstOffset) = {{first:UInt64}}"""


@dataclass(frozen=True, slots=True)
class Batch:
    """Where a batch lies. `window` is the hour that it was received in, Unix seconds."""

    log_id: str
    topic: str
    partition: int
    first: int
    last: int
    window: int = 0

    @property
    def token(self) -> str:
        """What the deduplication tokens of its inserts begin with."""
        return f"{self.log_id}:{self.topic}:{self.partition}:{self.first}:{self.last}"

    @property
    def parameters(self) -> dict[str, Any]:
        """For the statements above."""
        return {
            "log_id": self.log_id,
            "topic": self.topic,
            "partition": self.partition,
            "first": self.first,
            "window": self.window,
        }


class Kept:
    """The guards' state in the store. Errors of every method are those of `StoreInserter`."""

    def __init__(self, store: StoreInserter) -> None:
        self._store = store
        self._arena = Arena()

    def policy(self, batch: Batch) -> tuple[tuple[RedactionRule, ...], str, str] | None:
        """The rules that hold for a batch that begins here, their text and the id of their key; None for none.

        Raises:
            PermanentError: another release recorded rules that this one does not know.
        """
        found = self._store.query(_POLICY, batch.parameters)
        if not found:
            return None
        text, key_id = found[0]
        try:
            return _RULES.validate_json(text), text, key_id
        except ValidationError as error:
            raise PermanentError(
                f"redaction_policies: the rules at {batch.topic}/{batch.partition}@{batch.first} are not known to this "
                f"release: {error}"
            ) from error

    def record_policy(self, batch: Batch, text: str, key_id: str) -> None:
        """Say that from the first record of this batch on these rules hold."""
        row = {
            "LogId": batch.log_id,
            "Topic": batch.topic,
            "Partition": batch.partition,
            "FirstOffset": batch.first,
            "KeyId": key_id,
            "Rules": text,
        }
        token = f"{batch.log_id}:{batch.topic}:{batch.partition}:{batch.first}:redaction:{hash_of(text + key_id)}"
        self._store.rows("redaction_policies", [row], token)

    def series(self, window: int, since: int) -> tuple[list[tuple[Group, Array]], int]:
        """The series of a window that came since then (Unix seconds), by group, and when the last of them came."""
        found = self._store.query(_SERIES, {"window": window, "since": since})
        newest = max((int(row[4]) for row in found), default=since)
        return [(_group(row), np.array(row[3], np.uint64)) for row in found], newest

    def recorded(self, batch: Batch) -> dict[Group, tuple[Spent, Array]]:
        """What an earlier attempt at this batch folded: why, and which series of the group stayed whole."""
        found = self._store.query(_RECORDED, batch.parameters)
        return {_group(row): (Spent(row[3], int(row[4])), np.array(row[5], np.uint64)) for row in found}

    def record_series(self, batch: Batch, admitted: Sequence[tuple[Group, Array]]) -> None:
        """Count these series in the batch's window."""
        repeats = np.array([len(series) for _, series in admitted])
        series = np.concatenate([series for _, series in admitted])
        columns = [
            pa.array(np.full(len(series), batch.window, np.uint32)),
            *_group_columns([group for group, _ in admitted], repeats),
            pa.array(series),
        ]
        self._insert("series_admitted", _ADMITTED, columns, batch)

    def record_overflows(self, batch: Batch, decision: Decision, whole: Mapping[Group, Array]) -> None:
        """Say what the batch folded; `whole` has the series that stay whole of groups where that is new."""
        groups = sorted(decision.spent)
        ones = np.ones(len(groups), np.int64)

        def numbers(kind: type, values: Sequence[int]) -> pa.Array:
            return pa.array(np.array(values, kind))

        def texts(values: Sequence[str]) -> pa.Array:
            return pa.array(values, pa.string()).dictionary_encode()

        count = len(groups)
        kept = [whole.get(group, np.zeros(0, np.uint64)) for group in groups]
        columns = [
            numbers(np.uint32, [batch.window] * count),
            *_group_columns(groups, ones),
            texts([batch.log_id] * count),
            texts([batch.topic] * count),
            numbers(np.uint32, [batch.partition] * count),
            numbers(np.uint64, [batch.first] * count),
            numbers(np.uint64, [batch.last] * count),
            texts([decision.spent[group].level for group in groups]),
            numbers(np.uint64, [decision.spent[group].budget for group in groups]),
            numbers(np.uint64, [decision.points[group] for group in groups]),
            numbers(np.uint8, [group in whole for group in groups]),
            pa.ListArray.from_arrays(
                numbers(np.int32, [0, *np.cumsum([len(each) for each in kept])]), pa.array(np.concatenate(kept))
            ),
        ]
        self._insert("series_overflows", _OVERFLOWS, columns, batch)

    def _insert(self, table: str, columns: Sequence[Column], arrays: Sequence[pa.Array], batch: Batch) -> None:
        names = [column.name for column in columns]
        self._arena.reset()
        body = native.encode(pa.RecordBatch.from_arrays(list(arrays), names), columns, self._arena)
        self._store.native(table, names, body, len(arrays[0]), f"{batch.token}:{table}")


def rules_text(rules: Sequence[RedactionRule]) -> str:
    """The rules as they are recorded: equal rules, equal text."""
    return json.dumps([rule.model_dump(mode="json") for rule in rules], sort_keys=True)


def hash_of(text: str) -> str:
    """A short name for a text."""
    return f"{Group(text, '', '').number:016x}"


def _group(row: Sequence[Any]) -> Group:
    return Group(*(bytes.fromhex(value).decode("utf-8", "surrogateescape") for value in row[:3]))


def _group_columns(groups: Sequence[Group], repeats: Array) -> list[pa.Array]:
    codes = pa.array(np.repeat(np.arange(len(groups), dtype=np.uint32), repeats))
    columns = []
    for values in zip(*((group.tenant, group.service, group.metric) for group in groups), strict=True):
        encoded = pa.array([value.encode("utf-8", "surrogateescape") for value in values], pa.binary())
        columns.append(pa.DictionaryArray.from_arrays(codes, encoded.view(pa.string()), safe=False))
    return columns
