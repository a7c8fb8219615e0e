"""The pipeline's balance: what the log took against what the ledger says became of it, per tenant and signal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from dashboards.store import Row
from schemas.log import LogSnapshot
from schemas.signals import NAMES, signal_of


@dataclass(slots=True)
class Balance:
    """Items of one tenant and signal.

    `accepted` is what the log took, `refused` what ingest answered with partial_success, `rejected` what was refused
    after the log, `waiting` how many dead letters (records) nobody redrove yet.
    """

    tenant: str
    signal: str
    item: str
    accepted: int = 0
    refused: int = 0
    stored: int = 0
    rejected: int = 0
    sampled_out: int = 0
    dead_lettered: int = 0
    in_flight: int = 0
    waiting: int = 0

    @property
    def received(self) -> int:
        """All items that clients sent and that were answered with success, whole or in part."""
        return self.accepted + self.refused

    @property
    def missing(self) -> int:
        """Items that the log took and nothing accounts for; below zero, items accounted for twice. Zero is balance."""
        accounted = self.stored + self.rejected + self.sampled_out + self.dead_lettered + self.in_flight
        return self.accepted - accounted


@dataclass(slots=True)
class Ledger:
    """Collects both sides by tenant and signal."""

    by_key: dict[tuple[str, str], Balance] = field(default_factory=dict)

    def of(self, tenant: str, topic: str) -> Balance:
        """The balance that a topic of a tenant counts in. A topic of no signal is shown by its own name."""
        try:
            signal = signal_of(topic)
            name, item = signal.value, NAMES[signal].item
        except KeyError:
            name, item = topic, "items"
        return self.by_key.setdefault((tenant, name), Balance(tenant, name, item))


def next_offsets(log: LogSnapshot) -> dict[str, list[Any]]:
    """The committed offset of every partition, as `ledger_totals` takes it."""
    return {
        "partitions": [f"{topic}/{partition}" for topic, partition in log.progress],
        "next_offsets": [progress.next_offset for progress in log.progress.values()],
    }


def balances(log: LogSnapshot, ledger_rows: Sequence[Row]) -> list[Balance]:
    """A balance per tenant and signal.

    `ledger_rows` answer `ledger_totals` for `next_offsets(log)` and were asked for after `log` was read: a batch below
    the committed offset has all its ledger rows by then, so no load can make this look wrong.
    """
    ledger = Ledger()
    for count in log.counts:
        balance = ledger.of(count.tenant, count.topic)
        balance.accepted += count.items
        balance.refused += count.rejected
    for (topic, _, tenant), items in log.in_flight_items.items():
        ledger.of(tenant, topic).in_flight += items
    for (topic, tenant), letters in log.dead_letters.items():
        ledger.of(tenant, topic).waiting += letters
    for row in ledger_rows:
        balance = ledger.of(row["TenantId"], row["Topic"])
        if not log.counts:
            # A log across a network is not counted for a page: what its readers received is all that is known.
            balance.accepted += row["ReceivedItems"]
        balance.stored += row["StoredItems"]
        balance.rejected += row["RejectedItems"]
        balance.sampled_out += row["SampledOutItems"]
        balance.dead_lettered += row["DeadLetteredItems"]
    return [ledger.by_key[key] for key in sorted(ledger.by_key)]
