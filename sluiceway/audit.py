"""Conservation, hop by hop: received = stored + rejected + sampled out + dead-lettered + in flight, in items.

Pure: readings in, a report out. Every comparison has a low and a high bound. They are equal where the pipeline stood
still between two readings of the log, and then the comparison is exact; where a batch was moving, they differ by what
may be under way, and a figure inside the bounds proves nothing yet: the caller reads again.
"""

from __future__ import annotations

import datetime as dt
import enum
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from schemas.columns import TABLES
from schemas.ddl import retention_days
from schemas.log import LogSnapshot
from schemas.settings import RetentionSettings
from schemas.signals import NAMES, Signal, signal_of

_METRICS = "otel_metrics_"
# Base table to its signal and to the column that holds the event time.
BASE_TABLES: Mapping[str, tuple[Signal, str]] = {table.name: (table.signal, table.time) for table in TABLES}


@dataclass(frozen=True, slots=True)
class Rollup:
    """What a rollup table counts of one base table.

    Attributes:
        table: the rollup table.
        base: the base table.
        counted: the column that counts its rows.
        since_version: the schema version that brought it.
        long: whether it is kept as long as hours are.
        kind: of its rows only those of this Kind, where they come from several base tables.
    """

    table: str
    base: str
    counted: str
    since_version: int = 1
    long: bool = False
    kind: str = ""

    @property
    def name(self) -> str:
        """Names it in a report."""
        return f"{self.table} of {self.base}"

    def kept_days(self, retention: RetentionSettings) -> int:
        """Days that its rows are kept at least."""
        return retention.hourly_rollups_days if self.long else retention.rollups_days


ROLLUPS: Sequence[Rollup] = (
    Rollup("spans_1m", "otel_traces", "Calls"),
    Rollup("spans_1h", "otel_traces", "Calls", since_version=2, long=True),
    Rollup("services_1m", "otel_traces", "Calls", since_version=5),
    Rollup("services_1h", "otel_traces", "Calls", since_version=5, long=True),
    Rollup("logs_1m", "otel_logs", "Records"),
    *(
        Rollup("metrics_1d", f"{_METRICS}{kind}", "Points", since_version=3, long=True, kind=kind)
        for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    ),
)


@dataclass(frozen=True, slots=True)
class LedgerSum:
    """Ledger rows summed.

    Attributes:
        committed: their batches lie before the `next_offset` of the snapshot that they go with.
        elsewhere: they are about another log, which this store was filled from before.
        counted: their batches lie in the part of the log that the snapshot counts.
        redacted, folded: how many of the stored ones the guards changed.
    """

    topic: str
    tenant: str
    table: str
    day: dt.date
    committed: bool
    received: int = 0
    stored: int = 0
    rejected: int = 0
    sampled_out: int = 0
    dead_lettered: int = 0
    elsewhere: bool = False
    counted: bool = True
    redacted: int = 0
    folded: int = 0


@dataclass(frozen=True, slots=True)
class Offsets:
    """The batches of one partition in the ledger: first and last offset, and how many offsets all of them cover."""

    first: int
    last: int
    covered: int


@dataclass(frozen=True, slots=True)
class StoreReading:
    """What the store holds, read between two snapshots of the log.

    Attributes:
        ledger: sums of the ledger.
        newest_batch: the highest FirstOffset of this log in the ledger by (topic, partition).
        rows: rows of a base table by (table, tenant, event day in UTC).
        rollups: what a rollup counted by (rollup, tenant, event day in UTC).
        today: the store's own date in UTC.
        offsets: what the batches of this log in the ledger cover, by (topic, partition).
        whole_since: the first event day that a rollup counts whole, of those that a later schema version brought.
        others_quiet: no other log that fills this store has written for so long that none has a batch under way.
    """

    ledger: Sequence[LedgerSum]
    newest_batch: Mapping[tuple[str, int], int]
    rows: Mapping[tuple[str, str, dt.date], int]
    rollups: Mapping[tuple[str, str, dt.date], int]
    today: dt.date
    offsets: Mapping[tuple[str, int], Offsets] = field(default_factory=dict)
    whole_since: Mapping[str, dt.date] = field(default_factory=dict)
    others_quiet: bool = False


class Verdict(enum.StrEnum):
    """What one comparison, or all of them, say. MOVING: within bounds, but a batch was under way."""

    BALANCED = "balanced"
    IMBALANCED = "imbalanced"
    MOVING = "moving"


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison, in items. `low` and `high` bound what `actual` should be; `account` says how it adds up.

    `in_flight` is the part of `actual` that waits in the log; only the log's line has one.
    """

    hop: str
    tenant: str
    signal: Signal
    place: str
    low: int
    high: int
    actual: int
    account: str = ""
    in_flight: int = 0

    @property
    def verdict(self) -> Verdict:
        if not self.low <= self.actual <= self.high:
            return Verdict.IMBALANCED
        return Verdict.BALANCED if self.low == self.high else Verdict.MOVING

    @property
    def difference(self) -> int:
        """Items too many (positive) or missing (negative); 0 within the bounds."""
        return max(self.actual - self.high, 0) + min(self.actual - self.low, 0)


@dataclass(frozen=True, slots=True)
class Report:
    """All lines, and what waits outside them: dead letters by (signal, tenant), in records."""

    lines: Sequence[Line]
    waiting_dead_letters: Mapping[tuple[Signal, str], int]

    @property
    def verdict(self) -> Verdict:
        verdicts = {line.verdict for line in self.lines}
        return next((v for v in (Verdict.IMBALANCED, Verdict.MOVING) if v in verdicts), Verdict.BALANCED)


def settled_topics(before: LogSnapshot, store: StoreReading, after: LogSnapshot) -> set[str]:
    """Topics on which no insert can have run between the two snapshots.

    An insert needs a frozen range first (the exactly-once protocol). So with the same progress in both snapshots, and
    with each frozen range already in the ledger, which is written last, all inserts were over before the reading began.
    """
    moving = {
        topic
        for (topic, partition), progress in after.progress.items()
        if before.progress.get((topic, partition)) != progress
        or (progress.frozen and store.newest_batch.get((topic, partition), -1) < progress.frozen.first)
    }
    known = {topic for topic, _ in after.progress} | {row.topic for row in store.ledger}
    return known - moving


@dataclass(frozen=True, slots=True)
class _Motion:
    """What may move while the store is read: topics on which nothing did, and items under way on the others.

    Another log's frozen ranges are not to be read from here, so a topic that one fills is never settled and nothing
    bounds what it may have under way, until that log is quiet.
    """

    settled: Collection[str]
    under_way: Mapping[tuple[str, str], int]
    shared: Collection[str]

    def still(self, signal: Signal) -> bool:
        """Whether no insert can have run."""
        return NAMES[signal].topic in self.settled

    def slack(self, signal: Signal, tenant: str) -> int | None:
        """Items that may be in the store beyond what is committed; None where nothing bounds them."""
        topic = NAMES[signal].topic
        if topic in self.settled:
            return 0
        return None if topic in self.shared else self.under_way.get((topic, tenant), 0)


def audit(before: LogSnapshot, store: StoreReading, after: LogSnapshot, retention: RetentionSettings) -> Report:
    """Compare every hop of every tenant and signal.

    Args:
        before, after: snapshots of the log taken before and after `store` was read.
        store: ledger sums with `committed` decided by `before`.
        retention: days that may have expired in the store are left out of its comparisons.
    """
    shared = set() if store.others_quiet else {row.topic for row in store.ledger if row.elsewhere}
    motion = _Motion(settled_topics(before, store, after) - shared, _under_way(before, after), shared)
    lines = [
        *_ingest_lines(before),
        *_log_lines(before, store),
        *_offset_lines(store),
        *_processor_lines(store),
        *_store_lines(store, motion, retention),
        *_rollup_lines(store, motion, retention),
    ]
    lines.sort(key=lambda line: (line.tenant, line.signal, _HOPS.index(line.hop), line.place))
    waiting = {(signal_of(topic), tenant): count for (topic, tenant), count in before.dead_letters.items() if count}
    return Report(lines, waiting)


_HOPS = ("ingest", "log", "processors", "store", "rollups")


def _appended(snapshot: LogSnapshot) -> dict[tuple[str, str], int]:
    items: dict[tuple[str, str], int] = defaultdict(int)
    for count in snapshot.counts:
        items[count.topic, count.tenant] += count.items
    return items


def _in_flight(snapshot: LogSnapshot) -> dict[tuple[str, str], int]:
    items: dict[tuple[str, str], int] = defaultdict(int)
    for (topic, _, tenant), count in snapshot.in_flight_items.items():
        items[topic, tenant] += count
    return items


def _under_way(before: LogSnapshot, after: LogSnapshot) -> dict[tuple[str, str], int]:
    """Items that may have reached the store without being committed in `before`."""
    items = defaultdict(int, _in_flight(before))
    earlier = _appended(before)
    for key, count in _appended(after).items():
        items[key] += count - earlier.get(key, 0)
    return items


def _ingest_lines(before: LogSnapshot) -> Iterable[Line]:
    rejected: dict[tuple[str, str], int] = defaultdict(int)
    for count in before.counts:
        rejected[count.topic, count.tenant] += count.rejected
    for (topic, tenant), appended in _appended(before).items():
        # Both figures come from the append's own transaction: this line informs, the next one proves.
        refused = rejected[topic, tenant]
        account = f"{appended} appended + {refused} rejected at the door"
        total = appended + refused
        yield Line("ingest", tenant, signal_of(topic), topic, total, total, total, account)


def _log_lines(before: LogSnapshot, store: StoreReading) -> Iterable[Line]:
    appended, in_flight = _appended(before), _in_flight(before)
    received: dict[tuple[str, str], int] = defaultdict(int)
    for row in store.ledger:
        if row.committed and row.counted and not row.elsewhere:
            received[row.topic, row.tenant] += row.received
    for topic, tenant in {**appended, **in_flight, **received}:
        key = topic, tenant
        was, got, flying = appended.get(key, 0), received.get(key, 0), in_flight.get(key, 0)
        account = f"{got} received + {flying} in flight"
        yield Line("log", tenant, signal_of(topic), topic, was, was, got + flying, account, flying)


def _offset_lines(store: StoreReading) -> Iterable[Line]:
    """A batch begins where the one before it ended: a gap is a batch that was lost, an overlap one stored twice."""
    for (topic, partition), offsets in store.offsets.items():
        span = offsets.last - offsets.first + 1
        place = f"{topic}/{partition} offsets"
        account = f"offsets {offsets.first} to {offsets.last}, each in one batch"
        yield Line("log", "", signal_of(topic), place, span, span, offsets.covered, account)


def _processor_lines(store: StoreReading) -> Iterable[Line]:
    sums: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0] * 7)
    for row in store.ledger:
        counts = (row.received, row.stored, row.rejected, row.sampled_out, row.dead_lettered, row.redacted, row.folded)
        for n, count in enumerate(counts):
            sums[row.topic, row.tenant][n] += count
    for (topic, tenant), (received, stored, rejected, sampled, dead, redacted, folded) in sums.items():
        guarded = f" ({redacted} redacted, {folded} folded)" if redacted or folded else ""
        account = f"{stored} stored{guarded} + {rejected} rejected + {sampled} sampled out + {dead} dead-lettered"
        total = stored + rejected + sampled + dead
        yield Line("processors", tenant, signal_of(topic), topic, received, received, total, account)


def _store_lines(store: StoreReading, motion: _Motion, retention: RetentionSettings) -> Iterable[Line]:
    stored: dict[tuple[str, str, dt.date], _Stored] = defaultdict(_Stored)
    for row in store.ledger:
        if row.table:
            stored[row.table, row.tenant, row.day].add(row)
    by_table: dict[tuple[str, str], dict[dt.date, tuple[_Stored, int]]] = defaultdict(dict)
    for key in {**stored, **store.rows}:
        table, tenant, day = key
        if table not in BASE_TABLES or day >= _first_kept_day(
            store.today, retention_days(BASE_TABLES[table][0], retention)
        ):
            by_table[table, tenant][day] = stored.get(key, _Stored()), store.rows.get(key, 0)
    for (table, tenant), days in by_table.items():
        signal = BASE_TABLES[table][0] if table in BASE_TABLES else signal_of(next(iter(days.values()))[0].topic)
        still, slack = motion.still(signal), motion.slack(signal, tenant)
        expected = {day: (s.all if still else s.committed, actual) for day, (s, actual) in days.items()}
        yield from _by_day("store", tenant, signal, table, days=expected, slack=slack)


def _rollup_lines(store: StoreReading, motion: _Motion, retention: RetentionSettings) -> Iterable[Line]:
    committed: dict[tuple[str, str, dt.date], int] = defaultdict(int)
    for row in store.ledger:
        if row.committed and row.table:
            committed[row.table, row.tenant, row.day] += row.stored
    for rollup in ROLLUPS:
        name = rollup.name
        table = rollup.base
        signal = BASE_TABLES[table][0]
        first = _first_kept_day(store.today, min(retention_days(signal, retention), rollup.kept_days(retention)))
        first = max(first, store.whole_since.get(name, first))
        still = motion.still(signal)
        base = {key[1:]: n for key, n in (store.rows if still else committed).items() if key[0] == table}
        counted = {key[1:]: n for key, n in store.rollups.items() if key[0] == name}
        tenants: dict[str, dict[dt.date, tuple[int, int]]] = defaultdict(dict)
        for tenant, day in {**base, **counted}:
            if day >= first:
                tenants[tenant][day] = base.get((tenant, day), 0), counted.get((tenant, day), 0)
        for tenant, days in tenants.items():
            yield from _by_day("rollups", tenant, signal, name, days=days, slack=motion.slack(signal, tenant))


def _by_day(
    hop: str, tenant: str, signal: Signal, place: str, *, days: Mapping[dt.date, tuple[int, int]], slack: int | None
) -> Iterable[Line]:
    """One line for the days that agree and one for each that does not: a loss and a double must not cancel out."""
    low = actual = 0
    agreeing = 0
    for day, (expected, counted) in sorted(days.items()):
        high = max(expected, counted) if slack is None else expected + slack
        line = Line(hop, tenant, signal, f"{place} {day}", expected, high, counted)
        if line.verdict is Verdict.IMBALANCED:
            yield line
        else:
            low, actual, agreeing = low + expected, actual + counted, agreeing + 1
    if agreeing:
        high = actual if slack is None else low + slack
        yield Line(hop, tenant, signal, place, low, high, actual, f"{agreeing} days" if agreeing > 1 else "")


@dataclass(slots=True)
class _Stored:
    topic: str = ""
    committed: int = 0
    all: int = 0

    def add(self, row: LedgerSum) -> None:
        self.topic = row.topic
        self.all += row.stored
        self.committed += row.stored if row.committed else 0


def _first_kept_day(today: dt.date, days: int) -> dt.date:
    """The first event day of which no row can have expired yet: a row lives `days` x 24 h from its own time."""
    return today - dt.timedelta(days=days - 1)
