"""Requests become log records: small ones of one signal and tenant are joined, which is a merge to protobuf."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from schemas.log import Entry
from schemas.signals import Signal, topic

_TOPICS = {signal: topic(signal) for signal in Signal}


@dataclass(slots=True)
class Submitted:
    """One request's parts, in order; acknowledged together. Rejected items are counted with the first part."""

    signal: Signal
    tenant: str
    parts: Sequence[tuple[bytes, int]]
    rejected: int
    size_bytes: int
    received_at_ns: int
    permit: int = 0
    future: Future[None] = field(default_factory=Future)

    @property
    def flow(self) -> tuple[Signal, str]:
        """What is coalesced with each other, and takes turns with others."""
        return self.signal, self.tenant


@dataclass(slots=True)
class _Run:
    """Requests that become one record. `received_at_ns` is the earliest's; to a closed one none is added."""

    received_at_ns: int
    closed: bool = False
    values: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    items: int = 0
    rejected: int = 0

    def entry(self, signal: Signal, tenant: str) -> Entry:
        value = self.values[0] if len(self.values) == 1 else b"".join(self.values)
        return Entry(_TOPICS[signal], value, tenant, self.received_at_ns, self.items, self.rejected)


def coalesce(group: Iterable[Submitted], most_bytes: int, most_items: int, joins_below_bytes: int) -> list[Entry]:
    """The records of a group of requests.

    Args:
        group: in the order in which they came.
        most_bytes: a record that holds several parts is no larger.
        most_items: and holds no more: its bytes do not bound what it takes where it is decoded.
        joins_below_bytes: a part of this size or more is a record of its own.
    """
    entries: list[Entry] = []
    open_runs: dict[tuple[Signal, str], _Run] = {}
    for submitted in group:
        rejected = submitted.rejected
        key = submitted.flow
        for value, items in submitted.parts:
            run = open_runs.get(key)
            alone = len(value) >= joins_below_bytes
            if run is not None and (
                run.closed or alone or run.size_bytes + len(value) > most_bytes or run.items + items > most_items
            ):
                entries.append(run.entry(*key))
                run = None
            if run is None:
                run = open_runs[key] = _Run(submitted.received_at_ns, closed=alone)
            run.values.append(value)
            run.size_bytes += len(value)
            run.items += items
            run.rejected += rejected
            rejected = 0
    entries.extend(run.entry(*key) for key, run in open_runs.items())
    return entries
