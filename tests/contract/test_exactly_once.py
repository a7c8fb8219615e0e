"""The writer against a real log and a real store: ended at any step and begun again, everything is stored once."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ingest.wire_schema import REQUESTS
from processors.consume import Consumer
from processors.settings import BatchSettings
from processors.write import BatchWriter, FloodError
from schemas.columns import tables_of
from schemas.log import Record
from schemas.signals import Signal
from sluiceway.embedded.store import EmbeddedStore
from tests import decode_oracle
from tests.decoded import comparable
from tests.line_under_test import POISON, Line
from tests.otlp_requests import NOW_NS, Maker, items
from tests.rows_in_store import Database, database

DAY_NS = 86_400 * 10**9


@pytest.fixture(scope="module")
def shared_tables(store: EmbeddedStore) -> Iterator[Database]:
    with database(store, "exactly_once") as made:
        yield made


@pytest.fixture
def tables(shared_tables: Database) -> Database:
    of_kind = "database = '{db}' AND engine LIKE '%MergeTree' AND name != 'schema_versions' AND total_rows > 0"
    for table in shared_tables.ask(f"SELECT name FROM system.tables WHERE {of_kind}"):
        shared_tables.client.command(f"TRUNCATE TABLE {shared_tables.name}.{table['name']}")
    return shared_tables


@pytest.fixture
def line(tmp_path: Path, tables: Database) -> Iterator[Callable[..., Line]]:
    made: list[Line] = []

    def make(signal: Signal = Signal.TRACES, **settings: Any) -> Line:
        made.append(Line(tmp_path, tables, signal, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def request(signal: Signal, seed: int) -> bytes:
    """A random request with at least one item of each table, over two days."""
    rng = random.Random(seed)
    message = REQUESTS[signal]()
    while len(list(items(message))) < 8:
        Maker(rng, repeats=3).fill(message)
    for item in items(message):
        name = "start_time_unix_nano" if signal is Signal.TRACES else "time_unix_nano"
        setattr(item, name, NOW_NS - rng.choice((0, DAY_NS)) - rng.randint(0, 10**11))
        if signal is Signal.TRACES:
            item.end_time_unix_nano = item.start_time_unix_nano + rng.randint(0, 10**10)
    value: bytes = message.SerializeToString()
    return value


def requests(signal: Signal, count: int = 3, first: int = 0) -> list[bytes]:
    """Requests that fill every table of the signal between them."""
    found, seed = [request(signal, seed) for seed in range(first, first + count)], first + count
    wanted = {table.name for table in tables_of(signal)}
    while set(decode_oracle.rows(signal, [Record("", 0, 0, b"".join(found), "", 1, None)])) != wanted:
        found.append(request(signal, seed))
        seed += 1
    return found


def assert_stored_once(line: Line, records: Sequence[Record] | None = None) -> None:
    """Base tables, rollups and ledger hold the records that are no poison, and nothing else."""
    records = line.records() if records is None else records
    good = [record for record in records if record.value != POISON]
    expected = comparable(decode_oracle.rows(line.signal, good))
    for table in tables_of(line.signal):
        found = line.tables.rows(table.name)
        assert sorted(map(repr, found)) == sorted(map(repr, expected.get(table.name, [])))
    if line.signal is Signal.TRACES:
        assert_spans_rolled_up(line.tables, expected.get("otel_traces", []))
    elif line.signal is Signal.LOGS:
        assert_logs_rolled_up(line.tables, expected.get("otel_logs", []))
    else:
        assert_metrics_rolled_up(line.tables, expected)
    assert_ledger(line, records)


def start_of(time_ns: int, step_s: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9 // step_s * step_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


def minute(time_ns: int) -> str:
    return start_of(time_ns, 60)


def assert_spans_rolled_up(tables: Database, rows: Sequence[Mapping[str, Any]]) -> None:
    for tier, step_s in (("1m", 60), ("1h", 3600)):
        assert_tier_rolled_up(tables, f"spans_{tier}", step_s, rows, (*_SERVICE_KEYS, "SpanName"))
        assert_tier_rolled_up(tables, f"services_{tier}", step_s, rows, _SERVICE_KEYS)
    traces: dict[str, list[int]] = {}
    for row in rows:
        if row["TraceId"]:
            traces.setdefault(row["TraceId"], []).append(row["Timestamp"] // 10**9)
    found = tables.ask(
        "SELECT TraceId, toUnixTimestamp(min(Start)) AS a, toUnixTimestamp(max(End)) AS b"
        " FROM {db}.otel_traces_trace_id_ts GROUP BY TraceId"
    )
    assert {row["TraceId"]: (row["a"], row["b"]) for row in found} == {
        trace: (min(seconds), max(seconds)) for trace, seconds in traces.items()
    }


_SERVICE_KEYS = ("TenantId", "ServiceName", "SpanKind", "StatusCode", "ServiceVersion", "Environment")


def assert_tier_rolled_up(
    tables: Database, rollup: str, step_s: int, rows: Sequence[Mapping[str, Any]], names: tuple[str, ...]
) -> None:
    cells: dict[tuple[Any, ...], list[Any]] = {}
    slowest: dict[tuple[Any, ...], dict[str, int]] = {}
    for row in rows:
        key = (start_of(row["Timestamp"], step_s), *(row[name] for name in names))
        cell = cells.setdefault(key, [0, 0, 0, Counter()])
        cell[0] += 1
        cell[1] += row["StatusCode"] == "Error"
        cell[2] += row["Duration"]
        cell[3][str(decode_oracle.duration_bucket(row["Duration"]))] += 1
        longest = slowest.setdefault(key, {})
        rank = row["Duration"] if row["TraceId"] else 0
        longest[row["TraceId"]] = max(rank, longest.get(row["TraceId"], 0))
    found = tables.ask(
        f"SELECT toString(Time) AS Start, {', '.join(names)}, sum(Calls) AS Calls, sum(Errors) AS Errors,"
        " sum(DurationSum) AS Duration, sumMap(DurationBuckets) AS Buckets, argMaxMerge(SlowestTrace) AS Trace"
        f" FROM {{db}}.{rollup} GROUP BY ALL"
    )
    values = [tuple(row.values()) for row in found]
    width = 1 + len(names)
    assert {row[:width]: [*row[width : width + 3], dict(row[width + 3])] for row in values} == cells
    for row in values:
        longest = slowest[row[:width]]
        assert longest[row[width + 4]] == max(longest.values())


def assert_logs_rolled_up(tables: Database, rows: Sequence[Mapping[str, Any]]) -> None:
    names = ("TenantId", "ServiceName", "SeverityText", "SeverityNumber")
    expected = Counter((minute(row["Timestamp"]), *(row[name] for name in names)) for row in rows)
    found = tables.ask(
        f"SELECT toString(Time) AS Minute, {', '.join(names)}, sum(Records) AS n FROM {{db}}.logs_1m GROUP BY ALL"
    )
    assert {tuple(row.values())[:5]: row["n"] for row in found} == expected


def assert_metrics_rolled_up(tables: Database, expected: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    names = ("TenantId", "ServiceName", "MetricName", "ServiceVersion", "Environment")
    points = Counter(
        (start_of(row["TimeUnix"], 86400), table.removeprefix("otel_metrics_"), *(row[name] for name in names))
        for table, rows in expected.items()
        for row in rows
    )
    found = tables.ask(
        f"SELECT toString(Time) AS Day, Kind, {', '.join(names)}, sum(Points) AS n FROM {{db}}.metrics_1d GROUP BY ALL"
    )
    assert {tuple(row.values())[:7]: row["n"] for row in found} == points


def assert_ledger(line: Line, records: Sequence[Record]) -> None:
    received: Counter[str] = Counter()
    dead: Counter[str] = Counter()
    stored: Counter[tuple[str, str, str]] = Counter()
    for record in records:
        received[record.tenant] += record.items or 0
        if record.value == POISON:
            dead[record.tenant] += record.items or 0
            continue
        for name, rows in decode_oracle.rows(line.signal, [record]).items():
            time = "TimeUnix" if line.signal is Signal.METRICS else "Timestamp"
            for row in rows:
                stored[record.tenant, name, minute(row[time])[:10]] += 1
    totals = line.tables.ask(
        "SELECT TenantId, sum(Received) AS r, sum(Rejected) AS j, sum(SampledOut) AS s, sum(DeadLettered) AS d"
        " FROM {db}.ledger WHERE LogId = {log:String} AND TableName = '' GROUP BY TenantId",
        log=line.log_id,
    )
    assert {row["TenantId"]: (row["r"], row["j"], row["s"], row["d"]) for row in totals} == {
        tenant: (count, 0, 0, dead[tenant]) for tenant, count in received.items()
    }
    of_tables = line.tables.ask(
        "SELECT TenantId, TableName, toString(Day) AS Event, sum(Stored) AS n"
        " FROM {db}.ledger WHERE LogId = {log:String} AND TableName != '' GROUP BY ALL",
        log=line.log_id,
    )
    assert {(row["TenantId"], row["TableName"], row["Event"]): row["n"] for row in of_tables} == stored
    assert sum(stored.values()) + sum(dead.values()) == sum(received.values())


def steps(signal: Signal) -> list[str]:
    """The end may come between any two of: freeze, an insert for each table, the ledger, commit."""
    inserts = [f"after {table.name}" for table in tables_of(signal)]
    return ["before freeze", "after freeze", *inserts, "after ledger", "after commit"]


STEPS = [(signal, step) for signal in Signal for step in steps(signal)]


@pytest.mark.parametrize(("signal", "step"), STEPS)
def test_ended_at_a_step_and_begun_again_everything_is_stored_once(
    line: Callable[..., Line], signal: Signal, step: str
) -> None:
    way = line(signal)
    way.append(*requests(signal), tenant="acme")
    way.append(request(signal, 91), POISON, tenant="blue")
    way.crash(step)
    # Came after the batch was frozen, and is not part of it.
    way.append(request(signal, 92))
    way.consume()
    assert_stored_once(way)
    assert [letter.source.value for letter in way.letters()] == [POISON]
    assert way.progress() == (len(way.records()), None)


def test_ended_at_every_step_one_after_another_everything_is_stored_once(line: Callable[..., Line]) -> None:
    way = line()
    way.append(*requests(Signal.TRACES), POISON)
    for step in ("after freeze", "before otel_traces", "after otel_traces", "after ledger", "before commit"):
        way.crash(step)
    way.consume()
    assert_stored_once(way)


@pytest.mark.parametrize("position", range(5))
def test_a_poison_record_goes_to_the_dead_letters_and_all_others_are_stored(
    line: Callable[..., Line], position: int
) -> None:
    way = line()
    values = requests(Signal.TRACES, 4)
    values.insert(position, POISON)
    way.append(*values, tenant="acme")
    way.consume()
    assert_stored_once(way)
    (letter,) = way.letters()
    source = letter.source
    assert (source.topic, source.partition, source.offset) == ("otlp_spans", 0, position)
    assert (source.value, source.tenant, source.items, source.received_at_ns) == (POISON, "acme", 1, NOW_NS)
    assert (letter.reason, letter.message) == (
        "malformed",
        f"otlp_spans/0@{position}: byte 4: not a well-formed ExportTraceServiceRequest",
    )
    assert letter.failed_at_ns > NOW_NS


def test_a_batch_of_nothing_but_poison_is_dead_lettered_and_counted(line: Callable[..., Line]) -> None:
    way = line()
    way.append(POISON, POISON, POISON)
    way.consume()
    assert_stored_once(way)
    assert [letter.source.offset for letter in way.letters()] == [0, 1, 2]


def test_records_redriven_from_the_dead_letters_are_counted_again_and_die_again_when_still_bad(
    line: Callable[..., Line],
) -> None:
    way = line()
    way.append(*requests(Signal.TRACES, 2), POISON)
    way.consume()
    assert way.redrive() == 1
    way.consume()
    assert_stored_once(way)
    redriven = way.letters()[-1].source
    assert dict(redriven.headers) == {"redriven_from": "otlp_spans/0/2"}
    assert [letter.source.value for letter in way.letters()] == [POISON, POISON]


def test_records_that_died_of_a_defect_are_stored_when_redriven_after_it_was_mended(
    line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    from processors import write

    way = line()
    values = requests(Signal.TRACES, 3)
    way.append(*values)

    def defective(signal: Signal, records: Sequence[Record], *others: Any, **named: Any) -> Any:
        broken = [replace(record, value=POISON) if record.offset == 1 else record for record in records]
        return write_decode(signal, broken, *others, **named)

    write_decode = write.decode
    monkeypatch.setattr(write, "decode", defective)
    way.consume()
    assert [letter.source.value for letter in way.letters()] == [values[1]]
    monkeypatch.undo()
    assert way.redrive() == 1
    way.consume()
    stored = way.tables.rows("otel_traces")
    expected = comparable(decode_oracle.rows(Signal.TRACES, way.records()[:1] + way.records()[2:]))["otel_traces"]
    assert sorted(map(repr, stored)) == sorted(map(repr, expected))


def test_a_flood_of_bad_records_stops_the_consumer_with_nothing_frozen_or_committed(line: Callable[..., Line]) -> None:
    way = line(flood_min_bad=10, flood_records=40)
    way.append(*requests(Signal.TRACES), *[POISON] * 30)
    consumer = Consumer(Signal.TRACES, way.reader(), way.store(), way.settings)
    consumer.start()
    consumer.drain(30)
    consumer.stop(30)
    assert consumer.stopped_for is not None
    assert "batch.flood_share 0.5" in consumer.stopped_for
    assert "set batch.flood_share to 1" in consumer.stopped_for
    assert (way.progress(), way.letters(), way.tables.count("otel_traces")) == ((0, None), [], 0)
    # What the message says mends it.
    mended = BatchWriter(Signal.TRACES, way.reader(), way.store(), BatchSettings(flood_share=1.0))
    mended.write(0, way.records())
    assert_stored_once(way)
    assert len(way.letters()) == 30


def test_a_few_bad_records_among_many_attempts_are_no_flood(line: Callable[..., Line]) -> None:
    way = line(flood_min_bad=3, flood_records=40)
    way.append(POISON, POISON)
    consumer = way.consume(away=5)
    assert consumer.stopped_for is None
    assert_stored_once(way)


def test_bad_records_between_good_ones_over_many_batches_are_judged_together(line: Callable[..., Line]) -> None:
    way = line(flood_min_bad=6, flood_records=8)
    writer = BatchWriter(Signal.TRACES, way.reader(), way.store(), way.settings)
    for first in (0, 2, 4):
        way.append(POISON, POISON if first else request(Signal.TRACES, 1))
        writer.write(0, way.records()[first:])
    way.append(POISON, POISON)
    with pytest.raises(FloodError):
        writer.write(0, way.records()[6:])
    assert way.progress() == (6, None)


def test_while_the_store_is_away_nothing_is_lost_and_then_everything_is_stored_once(line: Callable[..., Line]) -> None:
    way = line(Signal.METRICS)
    way.append(*requests(Signal.METRICS))
    consumer = way.consume(away=4)
    assert consumer.failure is None
    assert_stored_once(way)


def ranges(way: Line) -> list[tuple[int, int]]:
    found = way.tables.ask(
        "SELECT DISTINCT FirstOffset, LastOffset FROM {db}.ledger WHERE LogId = {log:String} ORDER BY FirstOffset",
        log=way.log_id,
    )
    return [(row["FirstOffset"], row["LastOffset"]) for row in found]


def test_a_batch_is_closed_by_rows(line: Callable[..., Line]) -> None:
    value = request(Signal.LOGS, 1)
    way = line(Signal.LOGS, max_rows=20)
    way.append(*[value] * 6, counts=[8] * 6)
    reader = way.reader()
    consumer = Consumer(Signal.LOGS, reader, way.store(), way.settings)
    consumer.start()
    consumer.drain(30)
    consumer.stop(30)
    assert ranges(way) == [(0, 2), (3, 5)]


def test_a_batch_is_closed_by_bytes(line: Callable[..., Line]) -> None:
    way = line(Signal.LOGS, max_bytes=1 << 20)
    big = REQUESTS[Signal.LOGS]()
    big.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=NOW_NS).body.string_value = "x" * 400_000
    way.append(*[big.SerializeToString()] * 7)
    way.consume()
    assert ranges(way) == [(0, 2), (3, 5), (6, 6)]
    assert_stored_once(way)


def test_a_batch_is_closed_by_age_while_records_go_on_arriving(line: Callable[..., Line]) -> None:
    way = line(Signal.LOGS, max_age_s=0.3)
    consumer = Consumer(Signal.LOGS, way.reader(), way.store(), way.settings)
    consumer.start()
    value = request(Signal.LOGS, 2)
    until_s = time.monotonic() + 60
    while way.progress()[0] == 0 and time.monotonic() < until_s:
        way.append(value)
        time.sleep(0.02)
    assert way.progress()[0] > 1
    consumer.drain(30)
    consumer.stop(30)
    assert_stored_once(way)


def test_equal_offsets_of_two_logs_are_two_batches(line: Callable[..., Line]) -> None:
    one, other = line(), line()
    assert one.log_id != other.log_id
    for way in (one, other):
        way.append(*requests(Signal.TRACES))
        way.consume()
    records = one.records()
    twice = comparable(decode_oracle.rows(Signal.TRACES, records + records))["otel_traces"]
    assert sorted(map(repr, one.tables.rows("otel_traces"))) == sorted(map(repr, twice))
    assert_ledger(one, one.records())
    assert_ledger(other, other.records())


def test_the_ledger_has_a_row_for_each_tenant_table_and_event_day(line: Callable[..., Line]) -> None:
    way = line(Signal.METRICS)
    for at, tenant in enumerate(("", "acme", "blue")):
        way.append(*requests(Signal.METRICS, 2, first=10 * at), tenant=tenant)
    way.consume()
    assert_stored_once(way)
    days = way.tables.ask("SELECT TenantId, uniqExact(TableName) AS t, uniqExact(Day) AS d FROM {db}.ledger"
                          " WHERE TableName != '' GROUP BY TenantId ORDER BY TenantId")  # fmt: skip
    assert days == [{"TenantId": tenant, "t": 5, "d": 2} for tenant in ("", "acme", "blue")]
    assert len(ranges(way)) == 1


def test_records_without_headers_are_counted_as_decoded(line: Callable[..., Line], tables: Database) -> None:
    way = line()
    value = request(Signal.TRACES, 5)
    way.append(value)
    (record,) = way.records()
    foreign = Record(record.topic, 0, 0, record.value, "", record.received_at_ns, None)
    BatchWriter(Signal.TRACES, way.reader(), way.store(), way.settings).write(0, [foreign])
    assert_stored_once(way)


def test_a_batch_too_large_for_one_block_is_stored_in_several_each_once(
    line: Callable[..., Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    from processors import blocks

    monkeypatch.setattr(blocks, "_MOST_ROWS", {})
    monkeypatch.setattr(blocks, "ONE_BLOCK_ROWS", 3)
    way = line(Signal.METRICS)
    way.append(*requests(Signal.METRICS))
    for step in ("after otel_metrics_gauge", "after otel_metrics_sum"):
        way.crash(step)
    way.consume()
    assert_stored_once(way)
