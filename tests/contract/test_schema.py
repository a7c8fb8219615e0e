"""The schema's plan on a real store: complete, additive, safe to run twice and after an interrupted run."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from processors import schema
from processors.insert import StoreInserter
from processors.store_client import connect
from schemas.columns import TABLES
from schemas.ddl import VERSION, definitions
from schemas.errors import ConfigurationError, StoreUnavailableError
from schemas.settings import RetentionSettings
from sluiceway.embedded.store import EmbeddedStore

NUMBER = itertools.count(1)
DEFAULT = RetentionSettings()


@pytest.fixture(scope="module")
def client(store: EmbeddedStore) -> Iterator[Client]:
    made = connect(store.url, user=store.writer_user, password=store.writer_password, database="default")
    yield made
    made.close()


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """A database that does not exist yet."""
    made = f"schema_{next(NUMBER)}"
    yield made
    client.command(f"DROP DATABASE IF EXISTS {made} SYNC")


class InterruptedClient:
    """A client that goes away after so many commands."""

    def __init__(self, client: Client, commands: int) -> None:
        self.client = client
        self.left = commands

    def query(self, *arguments: object, **named: object) -> object:
        return self.client.query(*arguments, **named)

    def insert(self, *arguments: object, **named: object) -> object:
        self._count()
        return self.client.insert(*arguments, **named)

    def command(self, *arguments: object, **named: object) -> object:
        self._count()
        return self.client.command(*arguments, **named)

    def _count(self) -> None:
        if not self.left:
            raise OSError("connection lost")
        self.left -= 1


def columns(client: Client, name: str) -> dict[tuple[str, str], str]:
    found = client.query(f"SELECT table, name, type FROM system.columns WHERE database = '{name}'").result_rows
    return {(table, column): kind for table, column, kind in found}


def versions(client: Client, name: str) -> list[tuple[int, int]]:
    return [
        (version, len(statements))
        for version, statements in client.query(
            f"SELECT Version, Statements FROM {name}.schema_versions ORDER BY AppliedAt"
        ).result_rows
    ]


def test_on_an_empty_store_the_plan_makes_everything_and_then_nothing(client: Client, name: str) -> None:
    expected = [definition.name for definition in definitions(name, DEFAULT)]
    planned = schema.plan(client, name, DEFAULT)
    assert [step.reason for step in planned] == [
        "the database is missing",
        *(f"{each} is missing" for each in expected),
    ]
    assert columns(client, name) == {}
    assert schema.apply(client, name, DEFAULT) == planned
    assert schema.plan(client, name, DEFAULT) == []
    assert schema.apply(client, name, DEFAULT) == []
    made = client.query(f"SELECT name FROM system.tables WHERE database = '{name}'").result_columns[0]
    assert set(made) == set(expected)
    assert versions(client, name) == [(VERSION, len(planned))]


def test_the_store_has_every_column_with_the_type_of_the_list(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    have = columns(client, name)
    for table in TABLES:
        for column in table.columns:
            assert have[table.name, column.name] == column.type


@pytest.mark.slow
def test_interrupted_after_any_statement_the_next_run_completes(client: Client, name: str) -> None:
    total = len(definitions(name, DEFAULT)) + 2
    for commands in range(total):
        with pytest.raises(StoreUnavailableError):
            schema.apply(InterruptedClient(client, commands), name, DEFAULT)  # type: ignore[arg-type]
        left = schema.plan(client, name, DEFAULT)
        assert len(left) == total - 1 - commands
        if commands % 6 == 5 or commands == total - 1:
            schema.apply(client, name, DEFAULT)
            assert schema.plan(client, name, DEFAULT) == []
            assert versions(client, name) == [(VERSION, len(left))]
        client.command(f"DROP DATABASE IF EXISTS {name} SYNC")


def test_each_interrupted_run_goes_on_where_the_last_one_stopped(client: Client, name: str) -> None:
    for _ in range(len(definitions(name, DEFAULT)) + 1):
        with pytest.raises(StoreUnavailableError):
            schema.apply(InterruptedClient(client, 1), name, DEFAULT)  # type: ignore[arg-type]
    assert schema.plan(client, name, DEFAULT) == []
    schema.apply(client, name, DEFAULT)
    assert versions(client, name) == [(VERSION, 0)]


def test_a_column_that_is_missing_is_added_and_rows_stay(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    client.command(f"INSERT INTO {name}.otel_logs (Timestamp, Body) VALUES (now64(9), 'kept')")
    client.command(f"ALTER TABLE {name}.otel_logs DROP COLUMN ObservedTimestamp, DROP COLUMN LogFlags")
    steps = schema.apply(client, name, DEFAULT)
    assert [step.reason for step in steps] == ["ObservedTimestamp is missing", "LogFlags is missing"]
    assert steps[0].statement == (
        f"ALTER TABLE {name}.otel_logs ADD COLUMN IF NOT EXISTS `ObservedTimestamp` DateTime64(9)"
    )
    assert schema.plan(client, name, DEFAULT) == []
    assert client.query(f"SELECT Body, LogFlags FROM {name}.otel_logs").result_rows == [("kept", 0)]


def test_a_store_of_the_first_version_gains_hours_and_exemplars_and_keeps_its_minutes(
    client: Client, name: str
) -> None:
    schema.apply(client, name, DEFAULT)
    views = [f"VIEW {view}_{tier}" for view in ("service_red", "service_cells") for tier in ("1m", "1h")]
    tables = [f"TABLE {table}" for each in ("services_1h", "services_1m", "spans_1h") for table in (f"{each}_mv", each)]
    for gone in (*views, *tables):
        kind, _, table = gone.partition(" ")
        client.command(f"DROP {kind} {name}.{table} SYNC")
    [view] = [each for each in definitions(name, DEFAULT) if each.name == "spans_1m_mv"]
    older = "\n".join(line for line in view.query.splitlines() if "SlowestTrace" not in line)
    client.command(
        f"ALTER TABLE {name}.spans_1m_mv MODIFY QUERY {older.replace('AS DurationBuckets,', 'AS DurationBuckets')}"
    )
    client.command(f"ALTER TABLE {name}.spans_1m_mv MODIFY COMMENT 'older'")
    client.command(f"ALTER TABLE {name}.spans_1m DROP COLUMN SlowestTrace")
    span = f"INSERT INTO {name}.otel_traces (Timestamp, TraceId, SpanKind) VALUES (now64(9), 't', 'Server')"
    client.command(span)

    steps = schema.apply(client, name, DEFAULT)

    assert steps[0].reason == "SlowestTrace is missing"
    assert schema.plan(client, name, DEFAULT) == []
    client.command(span)
    for tier, calls in (("1m", 2), ("1h", 1)):
        sql = f"SELECT sum(Calls), argMaxMerge(SlowestTrace) FROM {name}.spans_{tier}"
        assert client.query(sql).result_rows == [(calls, "t")]


def test_hours_that_do_not_know_when_they_were_seen_were_seen_in_their_hour(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    [view] = [each for each in definitions(name, DEFAULT) if each.name == "spans_1h_mv"]
    older = re.sub(r",\n    (min|max)\(cell\.Time\) AS \w+", "", view.query)
    assert older != view.query
    client.command(f"ALTER TABLE {name}.spans_1h_mv MODIFY QUERY {older}")
    client.command(f"ALTER TABLE {name}.spans_1h_mv MODIFY COMMENT 'older'")
    client.command(f"ALTER TABLE {name}.spans_1h DROP COLUMN FirstSeen, DROP COLUMN LastSeen")
    span = "INSERT INTO {}.otel_traces (Timestamp, ServiceName) SELECT toStartOfHour(now()) - {}, 'cart'"
    client.command(span.format(name, 3600 - 120))

    steps = schema.apply(client, name, DEFAULT)

    assert [step.reason for step in steps] == [
        "FirstSeen is missing",
        "LastSeen is missing",
        "the query of spans_1h_mv changed",
        "says which definition it has",
    ]
    seen = f"SELECT toStartOfHour(now()) - FirstSeen, LastSeen - FirstSeen FROM {name}.inventory_operations"
    assert client.query(seen).result_rows == [(3600, 0)]
    client.command(span.format(name, 3600 - 240))
    client.command(f"OPTIMIZE TABLE {name}.spans_1h FINAL")
    assert client.query(seen).result_rows == [(3600, 240)]


def test_columns_that_are_not_ours_are_left_alone(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    client.command(f"ALTER TABLE {name}.otel_traces ADD COLUMN Theirs String")
    assert schema.plan(client, name, DEFAULT) == []


def ttl_days(client: Client, name: str) -> dict[str, int]:
    found = client.query(f"SELECT name, create_table_query FROM system.tables WHERE database = '{name}'").result_rows
    return {table: int(days[1]) for table, sql in found if (days := re.search(r"toIntervalDay\((\d+)\) SETTINGS", sql))}


@pytest.mark.parametrize(("before", "after"), [(30, 2), (2, 30), (9, 90), (99, 8)])
def test_a_new_retention_changes_the_ttl_of_that_signal_only(
    client: Client, name: str, before: int, after: int
) -> None:
    schema.apply(client, name, RetentionSettings(traces_days=before))
    others = ttl_days(client, name)
    steps = schema.apply(client, name, RetentionSettings(traces_days=after))
    assert [step.reason for step in steps] == [
        "the retention of otel_traces changed",
        "the retention of otel_traces_trace_id_ts changed",
    ]
    changed = {"otel_traces": after + 1, "otel_traces_trace_id_ts": after + 1}
    assert ttl_days(client, name) == others | changed
    assert schema.plan(client, name, RetentionSettings(traces_days=after)) == []


def test_a_view_of_another_release_gets_our_query_and_goes_on_filling_its_table(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    client.command(f"ALTER TABLE {name}.logs_1m_mv MODIFY QUERY SELECT toStartOfMinute(toDateTime(Timestamp)) AS Time,"
                   f" 7 AS Records FROM {name}.otel_logs")  # fmt: skip
    client.command(f"ALTER TABLE {name}.logs_1m_mv MODIFY COMMENT 'another'")
    client.command(f"CREATE OR REPLACE VIEW {name}.otel_metrics_exp_histogram AS SELECT 1 COMMENT 'another'")
    steps = schema.apply(client, name, DEFAULT)
    assert [step.reason for step in steps] == [
        "the query of logs_1m_mv changed",
        "says which definition it has",
        "the query of otel_metrics_exp_histogram changed",
    ]
    assert schema.plan(client, name, DEFAULT) == []
    client.command(f"INSERT INTO {name}.otel_logs (Timestamp, Body) VALUES (now64(9), 'x')")
    assert client.query(f"SELECT sum(Records) FROM {name}.logs_1m").result_rows == [(1,)]
    assert client.query(f"SELECT count() FROM {name}.otel_metrics_exp_histogram").result_rows == [(0,)]


def test_a_column_of_another_type_is_refused_with_its_name_and_both_types(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    client.command(f"ALTER TABLE {name}.otel_traces MODIFY COLUMN SpanFlags UInt64")
    with pytest.raises(ConfigurationError) as refusal:
        schema.apply(client, name, DEFAULT)
    assert str(refusal.value) == (
        f"schema: {name}.otel_traces.SpanFlags must be UInt32 (types are never changed in place); found UInt64"
    )


def test_a_store_of_a_later_release_is_refused(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    client.command(f"INSERT INTO {name}.schema_versions (Version, Checksum) VALUES ({VERSION + 1}, 'x')")
    for run in (schema.plan, schema.apply):
        with pytest.raises(ConfigurationError) as refusal:
            run(client, name, DEFAULT)
        assert str(refusal.value) == (
            f"schema: the store has version {VERSION + 1}, this release knows {VERSION}; run the later release"
        )


def test_a_store_that_is_away_can_be_asked_again_later() -> None:
    with pytest.raises(StoreUnavailableError):
        schema.plan(connect("http://127.0.0.1:1", connect_timeout_s=1), "otel", DEFAULT)


def test_a_smaller_deduplication_window_grows_and_forgets_no_token(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    for table in ("otel_logs", "logs_1m"):
        client.command(f"ALTER TABLE {name}.{table} MODIFY SETTING non_replicated_deduplication_window = 1000")
    inserter = StoreInserter(lambda: client, name)
    row = {"Timestamp": "2099-01-02 03:04:05", "TenantId": "shop", "Body": "once"}
    inserter.rows("otel_logs", [row], "token")
    steps = schema.apply(client, name, DEFAULT)
    assert [step.reason for step in steps] == ["otel_logs remembers fewer tokens", "logs_1m remembers fewer tokens"]
    assert schema.plan(client, name, DEFAULT) == []
    inserter.rows("otel_logs", [row], "token")
    assert client.query(f"SELECT count() FROM {name}.otel_logs").result_rows == [(1,)]
    assert client.query(f"SELECT sum(Records) FROM {name}.logs_1m").result_rows == [(1,)]


def test_a_larger_deduplication_window_is_an_operators_and_stays(client: Client, name: str) -> None:
    schema.apply(client, name, DEFAULT)
    client.command(f"ALTER TABLE {name}.ledger MODIFY SETTING non_replicated_deduplication_window = 200000")
    assert schema.plan(client, name, DEFAULT) == []


def test_a_token_is_remembered_while_a_window_of_others_comes_and_no_longer(client: Client, name: str) -> None:
    schema.create_database(client, name)
    client.command(
        f"CREATE TABLE {name}.few (Day Date, N UInt8) ENGINE = MergeTree PARTITION BY Day ORDER BY N "
        "SETTINGS non_replicated_deduplication_window = 10"
    )
    inserter = StoreInserter(lambda: client, name)

    def insert(token: str, days: int = 1) -> int:
        inserter.rows("few", [{"Day": f"2026-01-0{day + 1}", "N": 1} for day in range(days)], token)
        return int(client.query(f"SELECT count() FROM {name}.few").result_rows[0][0])

    assert insert("first") == 1
    # An insert of three days is three parts, and each takes a place of the window.
    assert [insert(f"other {n}", days=3) for n in range(3)] == [4, 7, 10]
    assert insert("first") == 10
    insert("last")
    assert insert("first") == 12
