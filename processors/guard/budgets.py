"""Budgets of series: who may still have a new one. State of one window; pure, no I/O.

First come, first served: series that a window has seen stay whole when a budget is spent, so that what dashboards and
alerts read goes on while an exploding attribute is folded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from processors.decode.strings import Array
from processors.guard.series import Group, Points, SeriesSet

Level = Literal["metric", "service", "tenant"]


@dataclass(frozen=True, slots=True)
class Budgets:
    """Series that each metric of a service, each service and each tenant may have in a window."""

    metric: int
    service: int
    tenant: int


@dataclass(frozen=True, slots=True)
class Spent:
    """A budget that new series of a group were refused for, and how many series count against it."""

    level: Level
    budget: int


@dataclass(slots=True)
class Decision:
    """What became of the data points of a batch.

    Attributes:
        folded: by table, which rows lose their attributes, a boolean for each.
        spent: by group, why; only groups with folded rows.
        points: by group, how many rows.
        admitted: series that are new in the window, and the group of each.
    """

    folded: dict[str, Array] = field(default_factory=dict)
    spent: dict[Group, Spent] = field(default_factory=dict)
    points: dict[Group, int] = field(default_factory=dict)
    admitted: list[tuple[Group, Array]] = field(default_factory=list)


class Window:
    """The series of one window, of all tenants."""

    def __init__(self) -> None:
        self._groups: dict[Group, int] = {}
        self._counts: list[int] = []
        self._services: dict[tuple[str, str], int] = {}
        self._tenants: dict[str, int] = {}
        self._series = SeriesSet()

    def __len__(self) -> int:
        return len(self._series)

    def add(self, group: Group, series: Array) -> Array:
        """Count series of a group, those that it has already once; the ones that were new."""
        new = np.unique(series[~self._series.has(series)])
        if len(new):
            index = self._index(group)
            self._series.add(new, np.full(len(new), index))
            self._counts[index] += len(new)
            service = group.tenant, group.service
            self._services[service] = self._services.get(service, 0) + len(new)
            self._tenants[group.tenant] = self._tenants.get(group.tenant, 0) + len(new)
        return new

    def of_groups(self, groups: Iterable[Group]) -> dict[Group, Array]:
        """The series of each of the groups, in order."""
        indexes = {group: self._index(group) for group in groups}
        found = self._series.of_groups(np.array(list(indexes.values()), np.int32))
        return {group: found[index] for group, index in indexes.items()}

    def _index(self, group: Group) -> int:
        index = self._groups.setdefault(group, len(self._groups))
        if index == len(self._counts):
            self._counts.append(0)
        return index

    def has_all(self, tables: dict[str, Points]) -> bool:
        """Whether no series of a batch is new, so that there is nothing to decide."""
        return all(self._series.has(points.series).all() for points in tables.values())

    def decide(self, tables: dict[str, Points], budgets: Budgets) -> Decision:
        """Admit new series while there is a budget, in the order in which they come; fold the rest."""
        decision = Decision()
        for table, points in tables.items():
            folded = np.zeros(len(points.series), np.bool_)
            new_rows = np.flatnonzero(~self._series.has(points.series))
            for group, rows in _by_group(points, new_rows):
                series = points.series[rows]
                distinct, first_at = np.unique(series, return_index=True)
                distinct = distinct[np.argsort(first_at)]
                left, spent = self._left(group, budgets)
                if len(distinct) > left:
                    _fold(decision, folded, group, rows[~np.isin(series, distinct[:left])], spent)
                if left:
                    decision.admitted.append((group, self.add(group, distinct[:left])))
            decision.folded[table] = folded
        return decision

    def _left(self, group: Group, budgets: Budgets) -> tuple[int, Spent]:
        counted = (
            (budgets.metric - self._counts[self._index(group)], Spent("metric", budgets.metric)),
            (budgets.service - self._services.get((group.tenant, group.service), 0), Spent("service", budgets.service)),
            (budgets.tenant - self._tenants.get(group.tenant, 0), Spent("tenant", budgets.tenant)),
        )
        left, spent = min(counted, key=lambda each: each[0])
        return max(left, 0), spent


def repeat(tables: dict[str, Points], recorded: dict[Group, tuple[Spent, Array]], window: Window) -> Decision:
    """The decision of an earlier attempt again: of the recorded groups only the recorded series are whole."""
    decision = Decision()
    for table, points in tables.items():
        folded = np.zeros(len(points.series), np.bool_)
        for group, rows in _by_group(points, np.arange(len(points.series))):
            series = points.series[rows]
            if group in recorded:
                spent, whole = recorded[group]
                is_whole = np.isin(series, whole)
                _fold(decision, folded, group, rows[~is_whole], spent)
                series = series[is_whole]
            new = window.add(group, series)
            if len(new):
                decision.admitted.append((group, new))
        decision.folded[table] = folded
    return decision


def _by_group(points: Points, rows: Array) -> Sequence[tuple[Group, Array]]:
    if not len(rows):
        return []
    of_row = points.group_of_row[rows]
    order = np.argsort(of_row, kind="stable")
    groups, starts = np.unique(of_row[order], return_index=True)
    return [(points.groups[group], part) for group, part in zip(groups, np.split(rows[order], starts[1:]), strict=True)]


def _fold(decision: Decision, folded: Array, group: Group, rows: Array, spent: Spent) -> None:
    if len(rows):
        folded[rows] = True
        decision.spent.setdefault(group, spent)
        decision.points[group] = decision.points.get(group, 0) + len(rows)
