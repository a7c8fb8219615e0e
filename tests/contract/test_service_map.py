"""Who calls whom, from spans that come in any order, in any number of inserts, looked at by any number of processes."""

from __future__ import annotations

import random
import threading
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors.service_map.settle import Settler
from processors.settings import ServiceMapSettings
from schemas.errors import StoreUnavailableError
from tests.rows_in_store import Database
from tests.viewer_under_test import insert, span

# 2026-01-15 10:00 UTC.
START_S = 1_768_471_200
PERIOD = {"f": "2026-01-15 00:00:00", "t": "2026-01-16 00:00:00"}
# Looked at again at once, as only a test wants it.
AT_ONCE = ServiceMapSettings.model_construct(**{**ServiceMapSettings().model_dump(), "interval_s": 0.0})
KEPT_DAYS = 3650


def settler(tables: Database, **changes: Any) -> Settler:
    client = tables.connect()
    client.database = tables.name
    return Settler(client, AT_ONCE.model_copy(update=changes), KEPT_DAYS, whole_every_s=0.0)


def insert_spans(tables: Database, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        insert(tables.client, "otel_traces", rows, tables.name)


def edges(tables: Database, tier: str = "1m") -> dict[tuple[str, str, str], tuple[int, int]]:
    """(client, server, kind) to calls and errors."""
    rows = tables.ask(f"SELECT * FROM {{db}}.service_map_{tier}(from = {{f:String}}, to = {{t:String}})", **PERIOD)
    return {(row["Client"], row["Server"], row["Kind"]): (row["Calls"], row["Errors"]) for row in rows}


def call(
    at_s: float, client: str, server: str, number: int, *, failed: bool = False, skew_s: float = 0.001, **columns: Any
) -> list[dict[str, Any]]:
    """The two spans of one call."""
    ids = {"trace_id": f"{number:032x}", **columns}
    return [
        span(at_s, client, kind="Client", span_id=f"{number:016x}", duration_ns=5_000_000, failed=failed, **ids),
        span(at_s + skew_s, server, span_id=f"f{number:015x}", parent=f"{number:016x}", duration_ns=3_000_000, **ids),
    ]


def test_calls_from_service_to_service_are_counted_with_errors_and_the_callers_latency(tables: Database) -> None:
    rows = [each for n in range(20) for each in call(START_S + n, "shop", "cart", n, failed=n < 3)]
    insert_spans(tables, rows)
    assert settler(tables).settle() == 1
    [row] = tables.ask("SELECT * FROM {db}.service_map_1m(from = {f:String}, to = {t:String})", **PERIOD)
    assert (row["Client"], row["Server"], row["Kind"]) == ("shop", "cart", "call")
    assert (row["Calls"], row["Errors"], row["DurationSum"]) == (20, 3, 20 * 5_000_000)
    assert row["P50"] == pytest.approx(5_000_000, rel=0.05)
    assert row["SlowTraceId"] in {f"{n:032x}" for n in range(20)}
    assert edges(tables, "1h") == edges(tables)


@pytest.mark.parametrize("late", ["client", "server"])
def test_two_halves_that_come_minutes_apart_and_through_different_processes_are_one_call(
    tables: Database, late: str
) -> None:
    first, second = call(START_S, "shop", "cart", 1)
    one, other = settler(tables), settler(tables)
    insert_spans(tables, [second if late == "client" else first])
    one.settle()
    assert edges(tables) == {}
    insert_spans(tables, [span(START_S + 240, "cart", trace_id="x", span_id="y")])
    other.settle()
    insert_spans(tables, [first if late == "client" else second])
    one.settle()
    other.settle()
    assert edges(tables) == edges(tables, "1h") == {("shop", "cart", "call"): (1, 0)}


@pytest.mark.parametrize(("skew_s", "seen"), [(-59, True), (290, True), (-200, False), (700, False)])
def test_a_call_begins_within_its_window_before_its_server_or_a_minute_of_skew_after_it(
    tables: Database, skew_s: float, seen: bool
) -> None:
    for row in call(START_S + 30, "shop", "cart", 1, skew_s=skew_s):
        insert_spans(tables, [row])
        settler(tables).settle()
    assert edges(tables) == ({("shop", "cart", "call"): (1, 0)} if seen else {})


def test_messages_are_edges_through_their_queue_and_from_sender_to_receiver(tables: Database) -> None:
    sent = {"messaging.system": "kafka", "messaging.destination.name": "orders"}
    producers = [
        span(START_S + n, "shop", kind="Producer", trace_id=f"{n:032x}", span_id=f"{n:016x}", SpanAttributes=sent)
        for n in range(4)
    ]
    # Two with a parent; one that receives the other two as a batch, half an hour later, in a trace of its own.
    consumers = [
        span(START_S + 1800, "mail", kind="Consumer", trace_id=f"{n:032x}", span_id=f"c{n:015x}", parent=f"{n:016x}",
             SpanAttributes=sent)
        for n in range(2)
    ] + [
        span(START_S + 1800, "mail", kind="Consumer", trace_id="b" * 32, span_id="b" * 16, failed=True,
             SpanAttributes=sent, **{
                 "Links.TraceId": [f"{n:032x}" for n in (2, 3)], "Links.SpanId": [f"{n:016x}" for n in (2, 3)],
                 "Links.TraceState": ["", ""], "Links.Attributes": [{}, {}], "Links.Flags": [0, 0],
                 "Links.DroppedAttributesCount": [0, 0],
             })
    ]  # fmt: skip
    insert_spans(tables, producers)
    settler(tables).settle()
    insert_spans(tables, consumers)
    settler(tables).settle()
    assert edges(tables) == edges(tables, "1h") == {
        ("shop", "kafka/orders", "queue"): (4, 0),
        ("kafka/orders", "mail", "delivery"): (3, 1),
        ("shop", "mail", "message"): (4, 2),
    }  # fmt: skip
    [row] = tables.ask(
        "SELECT P50 FROM {db}.service_map_1m(from = {f:String}, to = {t:String}) WHERE Kind = 'message'", **PERIOD
    )
    # What a message waits for is its receiver.
    assert row["P50"] == pytest.approx(1797e9, rel=0.05)


@pytest.mark.parametrize(
    ("attributes", "kind", "edge"),
    [
        ({"db.system.name": "mssql", "db.namespace": "orders"}, "Client", ("shop", "mssql/orders", "database")),
        ({"db.system": "redis", "server.address": "cache-1"}, "Client", ("shop", "redis@cache-1", "database")),
        ({"db.system": "mysql", "db.name": "crm"}, "Client", ("shop", "mysql/crm", "database")),
        ({"db.system": "mongodb"}, "Client", ("shop", "mongodb", "database")),
        ({"server.address": "api.bank.example"}, "Client", ("shop", "api.bank.example", "host")),
        ({"net.peer.name": "old.example"}, "Client", ("shop", "old.example", "host")),
        ({"url.full": "https://maps.example:8443/x?y"}, "Client", ("shop", "maps.example", "host")),
        ({"http.url": "http://legacy.example/x"}, "Client", ("shop", "legacy.example", "host")),
        ({"peer.service": "ledger", "server.address": "10.0.0.7"}, "Client", ("shop", "ledger", "host")),
        ({"messaging.system": "rabbitmq"}, "Producer", ("shop", "rabbitmq", "queue")),
        ({"messaging.system": "sqs", "messaging.destination": "q"}, "Client", ("shop", "sqs/q", "queue")),
        ({"messaging.system": "sqs", "messaging.operation.type": "receive"}, "Client", None),
        ({"messaging.system": "kafka", "messaging.destination.name": "t"}, "Consumer", ("kafka/t", "shop", "delivery")),
        ({"server.address": "me"}, "Server", None),
        ({"db.system": "redis"}, "Internal", None),
        ({}, "Client", None),
    ],
)  # fmt: skip
def test_databases_queues_and_hosts_are_named_by_the_semantic_conventions(
    tables: Database, attributes: dict[str, str], kind: str, edge: tuple[str, str, str] | None
) -> None:
    insert_spans(tables, [span(START_S, "shop", kind=kind, failed=True, SpanAttributes=attributes)])
    settler(tables).settle()
    assert edges(tables) == ({edge: (1, 1)} if edge else {})


def test_an_address_where_a_service_answered_is_no_outside_host(tables: Database) -> None:
    address = {"SpanAttributes": {"server.address": "cart.svc"}}
    client, server = call(START_S, "shop", "cart", 1)
    lost, _ = call(START_S + 1, "shop", "cart", 2, **address)
    outside, _ = call(START_S + 2, "shop", "bank", 3, SpanAttributes={"server.address": "bank.example"})
    insert_spans(tables, [{**client, **address}, lost, outside])
    settler(tables).settle()
    assert edges(tables) == {("shop", "cart.svc", "host"): (2, 0), ("shop", "bank.example", "host"): (1, 0)}
    insert_spans(tables, [server])
    settler(tables).settle()
    assert edges(tables) == {("shop", "cart", "call"): (1, 0), ("shop", "bank.example", "host"): (1, 0)}


def test_tenants_and_environments_have_maps_of_their_own(tables: Database) -> None:
    rows = [
        *call(START_S, "shop", "cart", 1),
        *call(START_S, "shop", "cart", 1, TenantId="other", failed=True),
        *call(START_S, "shop", "cart", 2, Environment="staging"),
    ]
    insert_spans(tables, rows)
    settler(tables).settle()
    found = tables.ask("SELECT * FROM {db}.service_map_1m(from = {f:String}, to = {t:String})", **PERIOD)
    assert sorted((row["TenantId"], row["Environment"], row["Calls"], row["Errors"]) for row in found) == [
        ("", "production", 1, 0), ("", "staging", 1, 0), ("other", "production", 1, 1),
    ]  # fmt: skip


def test_what_was_settled_is_settled_again_by_nobody_until_more_spans_come(tables: Database) -> None:
    insert_spans(tables, call(START_S, "shop", "cart", 1))
    assert settler(tables).settle() == 1
    assert settler(tables).settle() == 0
    insert_spans(tables, call(START_S + 1, "shop", "cart", 2))
    # Another process has just looked at it.
    assert settler(tables, interval_s=60.0).settle() == 0
    assert settler(tables).settle() == 1
    assert edges(tables) == {("shop", "cart", "call"): (2, 0)}


def test_spans_that_were_removed_from_the_store_are_not_looked_for_again_and_again(tables: Database) -> None:
    insert_spans(tables, call(START_S, "shop", "cart", 1))
    one = settler(tables)
    one.settle()
    tables.client.command(f"TRUNCATE TABLE {tables.name}.otel_traces")
    insert_spans(tables, [span(START_S, "cart")])
    assert [one.settle(), one.settle(), one.settle()] == [1, 0, 0]
    assert edges(tables) == {("shop", "cart", "call"): (1, 0)}


class DyingClient:
    """A client whose process is gone after so many statements."""

    def __init__(self, client: Any, statements: int) -> None:
        self._client, self._left = client, statements

    def query(self, *arguments: Any, **named: Any) -> Any:
        self._count()
        return self._client.query(*arguments, **named)

    def command(self, *arguments: Any, **named: Any) -> Any:
        self._count()
        return self._client.command(*arguments, **named)

    def _count(self) -> None:
        if not self._left:
            raise OSError("gone")
        self._left -= 1


def test_a_process_that_dies_between_any_two_statements_leaves_nothing_doubled_or_missing(tables: Database) -> None:
    rows = traffic(random.Random(4), 60)
    died = 0
    for statements in range(24):
        insert_spans(tables, rows[statements::24])
        client = tables.connect()
        client.database = tables.name
        try:
            Settler(DyingClient(client, statements), AT_ONCE, KEPT_DAYS, whole_every_s=0.0).settle()  # type: ignore[arg-type]
        except StoreUnavailableError:
            died += 1
    assert died > 10
    settler(tables).settle()
    assert edges(tables) == edges(tables, "1h") == brute_force(rows)


def traffic(source: random.Random, calls: int) -> list[dict[str, Any]]:
    """Both halves of calls and messages among few services, some halves missing, some twice as many receivers."""
    services = ["shop", "cart", "pay", "mail"]
    rows: list[dict[str, Any]] = []
    for n in range(calls):
        at_s = START_S + source.uniform(0, 1500)
        client, server = source.choice(services), source.choice(services)
        pair = call(at_s, client, server, n, failed=source.random() < 0.2, skew_s=source.uniform(-50, 200))
        if source.random() < 0.3:
            queue = {"messaging.system": "kafka", "messaging.destination.name": source.choice("ab")}
            pair[0] |= {"SpanKind": "Producer", "SpanAttributes": queue}
            pair[1] |= {
                "SpanKind": "Consumer",
                "SpanAttributes": queue,
                "Timestamp": f"{at_s + source.uniform(0, 3000):.9f}",
            }
        elif source.random() < 0.5:
            pair[0]["SpanAttributes"] = {"server.address": source.choice([f"{server}.svc", "bank.example"])}
        elif source.random() < 0.3:
            pair[0]["SpanAttributes"] = {"db.system": "redis"}
        if source.random() < 0.2:
            pair.append({**pair[1], "SpanId": f"e{n:015x}", "ServiceName": source.choice(services)})
        if source.random() < 0.2:
            pair.pop(source.randrange(len(pair)))
        rows += pair
    source.shuffle(rows)
    return rows


def brute_force(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Every span against every other."""
    calls: Counter[tuple[str, str, str]] = Counter()
    errors: Counter[tuple[str, str, str]] = Counter()
    known: set[str] = set()
    hosts: dict[tuple[str, str, str], list[bool]] = defaultdict(list)

    def add(edge: tuple[str, str, str], failed: bool) -> None:
        calls[edge] += 1
        errors[edge] += failed

    for row in rows:
        attributes = row.get("SpanAttributes", {})
        failed = row["StatusCode"] == "Error"
        service, kind = row["ServiceName"], row["SpanKind"]
        queue = f"kafka/{attributes.get('messaging.destination.name')}"
        if kind == "Producer":
            add((service, queue, "queue"), failed)
        elif kind == "Consumer":
            add((queue, service, "delivery"), failed)
        elif kind == "Client" and "db.system" in attributes:
            add((service, "redis", "database"), failed)
        elif kind == "Client" and "server.address" in attributes:
            hosts[service, attributes["server.address"], "host"].append(failed)
        if kind not in ("Server", "Consumer"):
            continue
        minute_s = float(row["Timestamp"]) // 60 * 60
        window_s = 300 if kind == "Server" else 3600
        for parent in rows:
            if parent["SpanKind"] not in ("Client", "Producer") or parent["TraceId"] != row["TraceId"]:
                continue
            if parent["SpanId"] != row["ParentSpanId"]:
                continue
            if not minute_s - window_s <= float(parent["Timestamp"]) < minute_s + 120:
                continue
            if kind == "Server":
                add((parent["ServiceName"], service, "call"), failed or parent["StatusCode"] == "Error")
                if parent["SpanKind"] == "Client" and (
                    address := parent.get("SpanAttributes", {}).get("server.address")
                ):
                    known.add(address)
            else:
                add((parent["ServiceName"], service, "message"), failed)
    for edge, failures in hosts.items():
        if edge[1] not in known:
            for failed in failures:
                add(edge, failed)
    return {edge: (count, errors[edge]) for edge, count in calls.items()}


SHARED = [HealthCheck.function_scoped_fixture]
WORLDS = given(st.integers(0, 2**32), st.integers(1, 80), st.integers(1, 12))


@settings(max_examples=5, deadline=None, suppress_health_check=SHARED)
@WORLDS
def test_the_map_is_that_of_every_span_against_every_other(
    tables: Database, seed: int, calls: int, inserts: int
) -> None:
    assert_settled_is_brute_force(tables, seed, calls, inserts)


@pytest.mark.long
@pytest.mark.timeout(0)
@settings(max_examples=200, deadline=None, suppress_health_check=SHARED)
@WORLDS
def test_the_map_of_many_worlds_is_that_of_every_span_against_every_other(
    tables: Database, seed: int, calls: int, inserts: int
) -> None:
    assert_settled_is_brute_force(tables, seed, calls, inserts)


def assert_settled_is_brute_force(tables: Database, seed: int, calls: int, inserts: int) -> None:
    for table in ("otel_traces", "spans_1m", "service_edges_1m", "service_edges_1h", "service_edges_settled",
                  "service_addresses"):  # fmt: skip
        tables.client.command(f"TRUNCATE TABLE {tables.name}.{table}")
    source = random.Random(seed)
    rows = traffic(source, calls)
    processes = [settler(tables, run_spans=source.choice([1000, 10**6])) for _ in range(2)]
    for n in range(inserts):
        insert_spans(tables, rows[n::inserts])
        if source.random() < 0.7:
            source.choice(processes).settle()
        if source.random() < 0.2:
            tables.client.command(f"OPTIMIZE TABLE {tables.name}.service_edges_1m FINAL")
    processes[0].settle()
    assert edges(tables) == brute_force(rows)
    assert edges(tables, "1h") == edges(tables)


def test_processes_that_settle_at_once_while_spans_come_agree_in_the_end(tables: Database) -> None:
    rows = traffic(random.Random(9), 300)
    over = threading.Event()
    failures: list[BaseException] = []

    def settle() -> None:
        mine = settler(tables)
        while not over.is_set():
            try:
                mine.settle()
            except BaseException as error:  # noqa: BLE001  reported by the test itself
                failures.append(error)
                return

    threads = [threading.Thread(target=settle) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(15):
        insert_spans(tables, rows[n::15])
    over.set()
    for thread in threads:
        thread.join()
    settler(tables).settle()
    assert failures == []
    assert edges(tables) == edges(tables, "1h") == brute_force(rows)
