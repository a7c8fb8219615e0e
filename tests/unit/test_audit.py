"""The audit finds any single item that was lost or doubled, and never cries wolf over a batch under way."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.log import LogSnapshot, OffsetRange, Progress, TopicCount
from schemas.settings import RetentionSettings
from schemas.signals import NAMES, Signal, signal_of
from sluiceway.audit import BASE_TABLES, ROLLUPS, LedgerSum, StoreReading, Verdict, audit

TODAY = dt.date(2026, 3, 10)
RETENTION = RetentionSettings(traces_days=7, logs_days=7, metrics_days=30, rollups_days=90)
KEPT = [TODAY - dt.timedelta(days=n) for n in range(7)]
EXPIRED = TODAY - dt.timedelta(days=7)
TABLES = {signal: [name for name, (of, _) in BASE_TABLES.items() if of is signal] for signal in Signal}


@dataclass
class Batch:
    """One batch of one topic: items of each tenant by fate. A fate is a (table, day), or the name of a counter."""

    signal: Signal
    stored: Counter[tuple[str, str, dt.date]]
    fates: Counter[tuple[str, str]]


@dataclass
class World:
    """A pipeline's true history: committed batches, then at most one that is frozen, then records not yet read."""

    committed: list[Batch]
    flying: Counter[tuple[str, str]]
    rejected: int = 0
    frozen: Batch | None = None
    frozen_in_ledger: bool = False
    inserted: Counter[tuple[str, str, dt.date]] = field(default_factory=Counter)

    def ledger(self) -> list[LedgerSum]:
        rows = []
        batches = [(b, True) for b in self.committed]
        if self.frozen and self.frozen_in_ledger:
            batches.append((self.frozen, False))
        for batch, committed in batches:
            topic = NAMES[batch.signal].topic
            for (table, tenant, day), n in batch.stored.items():
                rows.append(LedgerSum(topic, tenant, table, day, committed, stored=n))
            for tenant in {t for _, t, _ in batch.stored} | {t for t, _ in batch.fates}:
                lost = {fate: batch.fates[tenant, fate] for fate in ("rejected", "sampled_out", "dead_lettered")}
                received = sum(lost.values()) + sum(n for (_, t, _), n in batch.stored.items() if t == tenant)
                rows.append(LedgerSum(topic, tenant, "", dt.date(1970, 1, 1), committed, received=received, **lost))
        return rows

    def items(self, batch: Batch) -> Counter[tuple[str, str]]:
        topic = NAMES[batch.signal].topic
        items: Counter[tuple[str, str]] = Counter()
        for (_, tenant, _), n in batch.stored.items():
            items[topic, tenant] += n
        for (tenant, _), n in batch.fates.items():
            items[topic, tenant] += n
        return items

    def snapshot(self) -> LogSnapshot:
        flying = Counter(self.flying)
        if self.frozen:
            flying.update(self.items(self.frozen))
        appended = Counter(flying)
        for batch in self.committed:
            appended.update(self.items(batch))
        done = Counter(NAMES[b.signal].topic for b in self.committed)
        frozen_topic = NAMES[self.frozen.signal].topic if self.frozen else ""
        progress = {
            (names.topic, 0): Progress(
                10 * done[names.topic],
                OffsetRange(10 * done[names.topic], 10 * done[names.topic] + 9)
                if names.topic == frozen_topic
                else None,
            )
            for names in NAMES.values()
        }
        counts = [TopicCount(topic, 0, tenant, 1, n, self.rejected) for (topic, tenant), n in appended.items()]
        in_flight = {(topic, 0, tenant): n for (topic, tenant), n in flying.items()}
        return LogSnapshot(counts, progress, in_flight, {})

    def store(self) -> StoreReading:
        rows: Counter[tuple[str, str, dt.date]] = Counter()
        for batch in self.committed:
            rows.update(batch.stored)
        if self.frozen:
            rows.update(self.frozen.stored if self.frozen_in_ledger else self.inserted)
        rows = Counter(
            {key: n for key, n in rows.items() if key[2] != EXPIRED or BASE_TABLES[key[0]][0] is Signal.METRICS}
        )
        rollups = {
            (rollup.name, tenant, day): n
            for rollup in ROLLUPS
            for (table, tenant, day), n in rows.items()
            if table == rollup.base
        }
        newest: dict[tuple[str, int], int] = {}
        done: Counter[str] = Counter()
        for batch in [*self.committed, *([self.frozen] if self.frozen and self.frozen_in_ledger else [])]:
            topic = NAMES[batch.signal].topic
            newest[topic, 0] = 10 * done[topic]
            done[topic] += 1
        return StoreReading(self.ledger(), newest, rows, rollups, TODAY)


tenants = st.sampled_from(["", "shop", "bank"])
few = st.integers(1, 5)


@st.composite
def batches(draw: Any) -> Batch:
    signal = draw(st.sampled_from(list(Signal)))
    keys = st.tuples(st.sampled_from(TABLES[signal]), tenants, st.sampled_from([*KEPT, EXPIRED]))
    stored = draw(st.dictionaries(keys, few, min_size=1, max_size=6))
    fates = draw(
        st.dictionaries(st.tuples(tenants, st.sampled_from(["rejected", "sampled_out", "dead_lettered"])), few)
    )
    return Batch(signal, Counter(stored), Counter(fates))


topics = st.sampled_from([names.topic for names in NAMES.values()])
flying = st.dictionaries(st.tuples(topics, tenants), few, max_size=4).map(Counter)
still = st.builds(World, committed=st.lists(batches(), min_size=1, max_size=5), flying=flying, rejected=few)


@given(still)
def test_a_sound_pipeline_that_stands_still_balances(world: World) -> None:
    report = audit(world.snapshot(), world.store(), world.snapshot(), RETENTION)

    assert [line for line in report.lines if line.verdict is not Verdict.BALANCED] == []
    assert report.verdict is Verdict.BALANCED


@given(still, batches())
def test_a_batch_that_is_written_but_not_committed_balances_exactly(world: World, frozen: Batch) -> None:
    world = replace(world, frozen=frozen, frozen_in_ledger=True)

    assert audit(world.snapshot(), world.store(), world.snapshot(), RETENTION).verdict is Verdict.BALANCED


@given(still, batches(), st.data())
def test_a_batch_that_is_partly_inserted_is_never_called_an_imbalance(
    world: World, frozen: Batch, data: st.DataObject
) -> None:
    inserted = Counter({key: data.draw(st.integers(0, n)) for key, n in frozen.stored.items()})
    world = replace(world, frozen=frozen, inserted=inserted)

    report = audit(world.snapshot(), world.store(), world.snapshot(), RETENTION)

    assert report.verdict is not Verdict.IMBALANCED


@given(still, batches())
def test_a_batch_that_began_and_ended_during_the_reading_is_never_called_an_imbalance(world: World, new: Batch) -> None:
    before = replace(world, flying=world.flying + world.items(new))
    during = replace(world, frozen=new, frozen_in_ledger=True)
    after = replace(world, committed=[*world.committed, new])

    report = audit(before.snapshot(), during.store(), after.snapshot(), RETENTION)

    assert report.verdict is not Verdict.IMBALANCED
    # A day that may have expired is compared with nothing, so a batch of nothing else need not show as moving.
    if any(day != EXPIRED or BASE_TABLES[table][0] is Signal.METRICS for table, _, day in new.stored):
        assert report.verdict is Verdict.MOVING


@given(still, st.sampled_from([-1, 1]), st.data())
def test_any_single_row_lost_or_doubled_in_a_table_is_found(world: World, by: int, data: st.DataObject) -> None:
    store = world.store()
    kept = [k for k in store.rows if k[2] != EXPIRED or BASE_TABLES[k[0]][0] is Signal.METRICS]
    keys = kept or [("otel_traces", "", TODAY)]
    key = data.draw(st.sampled_from(sorted(keys)))
    rows = {**store.rows, key: max(store.rows.get(key, 0) + by, 0 if kept else 1)}

    report = audit(world.snapshot(), replace(store, rows=rows), world.snapshot(), RETENTION)

    assert report.verdict is Verdict.IMBALANCED
    assert key[0] in {line.place.split()[0] for line in report.lines if line.hop == "store" and line.difference}


@given(still, st.sampled_from([-1, 1]), st.data())
def test_any_single_item_lost_or_doubled_in_a_rollup_is_found(world: World, by: int, data: st.DataObject) -> None:
    store = world.store()
    key = data.draw(st.sampled_from(sorted(store.rollups) or [("spans_1m of otel_traces", "", TODAY)]))
    rollups = {**store.rollups, key: store.rollups.get(key, 0) + by}

    report = audit(world.snapshot(), replace(store, rollups=rollups), world.snapshot(), RETENTION)

    assert {line.difference for line in report.lines if line.hop == "rollups"} >= {by}


@given(still, st.sampled_from([-1, 1]), st.data())
def test_any_single_item_lost_or_doubled_in_the_ledger_is_found(world: World, by: int, data: st.DataObject) -> None:
    store = world.store()
    row = data.draw(st.sampled_from(list(store.ledger)))
    column = data.draw(st.sampled_from(["received", "stored", "rejected", "sampled_out", "dead_lettered"]))
    changed = replace(row, **{column: getattr(row, column) + by})
    ledger = [changed if other is row else other for other in store.ledger]

    report = audit(world.snapshot(), replace(store, ledger=ledger), world.snapshot(), RETENTION)

    assert report.verdict is Verdict.IMBALANCED


@given(still, st.sampled_from([-1, 1]), st.data())
def test_any_single_item_lost_or_doubled_in_the_log_is_found(world: World, by: int, data: st.DataObject) -> None:
    snapshot = world.snapshot()
    count = data.draw(st.sampled_from(list(snapshot.counts)))
    counts = [replace(c, items=c.items + by) if c is count else c for c in snapshot.counts]
    wrong = replace(snapshot, counts=counts)

    report = audit(wrong, world.store(), wrong, RETENTION)

    assert [(line.hop, line.signal, line.tenant) for line in report.lines if line.difference] == [
        ("log", signal_of(count.topic), count.tenant)
    ]


@given(still)
def test_a_loss_and_a_double_on_different_days_do_not_cancel_out(world: World) -> None:
    store = world.store()
    rows = {**store.rows, ("otel_logs", "x", KEPT[0]): 1, ("otel_logs", "x", KEPT[1]): 3}
    row = LedgerSum("otlp_logs", "x", "otel_logs", KEPT[0], True, received=4, stored=2)
    ledger = [*store.ledger, row, replace(row, day=KEPT[1], received=0)]

    report = audit(world.snapshot(), replace(store, ledger=ledger, rows=rows), world.snapshot(), RETENTION)

    assert sorted(line.difference for line in report.lines if line.hop == "store" and line.difference) == [-1, 1]


def test_days_before_a_rollup_came_are_not_compared_with_it() -> None:
    batch = Batch(Signal.TRACES, Counter({("otel_traces", "", KEPT[0]): 3, ("otel_traces", "", TODAY): 2}), Counter())
    world = World(committed=[batch], flying=Counter())
    store = world.store()
    rollups = {key: n for key, n in store.rollups.items() if key != ("spans_1h of otel_traces", "", KEPT[0])}
    missing = replace(store, rollups=rollups)

    assert audit(world.snapshot(), missing, world.snapshot(), RETENTION).verdict is Verdict.IMBALANCED
    came = replace(missing, whole_since={"spans_1h of otel_traces": KEPT[0] + dt.timedelta(days=1)})
    assert audit(world.snapshot(), came, world.snapshot(), RETENTION).verdict is Verdict.BALANCED


def test_rows_of_a_day_that_may_have_expired_are_not_compared() -> None:
    batch = Batch(Signal.TRACES, Counter({("otel_traces", "", EXPIRED): 3}), Counter())
    world = World(committed=[batch], flying=Counter())

    report = audit(world.snapshot(), world.store(), world.snapshot(), RETENTION)

    assert [line.hop for line in report.lines] == ["ingest", "log", "processors"]
    assert report.verdict is Verdict.BALANCED


def test_stored_rows_of_a_table_that_does_not_exist_are_an_imbalance() -> None:
    world = World(committed=[Batch(Signal.LOGS, Counter({("otel_logz", "", TODAY): 3}), Counter())], flying=Counter())
    store = StoreReading(world.ledger(), {}, {}, {}, TODAY)

    report = audit(world.snapshot(), store, world.snapshot(), RETENTION)

    assert [(line.place, line.difference) for line in report.lines if line.difference] == [(f"otel_logz {TODAY}", -3)]


def test_more_rows_than_anything_under_way_explains_are_an_imbalance_even_while_moving() -> None:
    frozen = Batch(Signal.LOGS, Counter({("otel_logs", "", TODAY): 3}), Counter())
    world = World([], Counter(), frozen=frozen, inserted=Counter({("otel_logs", "", TODAY): 4}))

    report = audit(world.snapshot(), world.store(), world.snapshot(), RETENTION)

    assert {line.difference for line in report.lines if line.hop == "store"} == {1}


def test_waiting_dead_letters_are_reported_by_signal_and_tenant() -> None:
    snapshot = LogSnapshot([], {}, {}, {("otlp_spans", "shop"): 2, ("otlp_logs", ""): 0})

    report = audit(snapshot, StoreReading([], {}, {}, {}, TODAY), snapshot, RETENTION)

    assert report.waiting_dead_letters == {(Signal.TRACES, "shop"): 2}


@pytest.mark.parametrize("signal", Signal)
def test_every_signal_has_a_table_that_the_audit_counts(signal: Signal) -> None:
    assert TABLES[signal] != []
