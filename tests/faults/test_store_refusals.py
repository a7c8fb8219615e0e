"""What a real store refuses, and whether it is worth another try; one table that it refuses stops no other signal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from processors.consume import Consumer
from processors.insert import StoreInserter
from processors.store_client import connect
from schemas.breaker import Circuit
from schemas.errors import PermanentError, StoreUnavailableError
from schemas.signals import Signal
from sluiceway.embedded.store import EmbeddedStore
from tests.contract.test_exactly_once import assert_stored_once, request, requests
from tests.faults.cutting_proxy import cutting_proxy
from tests.line_under_test import Line
from tests.rows_in_store import Database, database

ROW = {"LogId": "l", "Topic": "otlp_spans", "Partition": 0, "FirstOffset": 0, "LastOffset": 0, "Received": 1}


@pytest.fixture(scope="module")
def tables(store: EmbeddedStore) -> Iterator[Database]:
    with database(store, "refusals") as made:
        made.client.command(
            "CREATE TABLE refusals.crowded (n UInt64) ENGINE = MergeTree ORDER BY n"
            " SETTINGS parts_to_delay_insert = 0, parts_to_throw_insert = 2"
        )
        made.client.command("SYSTEM STOP MERGES refusals.crowded")
        yield made


def until(condition: Callable[[], object]) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_too_many_parts_is_retryable_and_taken_once_they_are_merged(tables: Database) -> None:
    inserter = tables.inserter()
    for number in range(2):
        inserter.rows("crowded", [{"n": number}], f"crowded-{number}")
    with pytest.raises(StoreUnavailableError, match="TOO_MANY_PARTS") as refused:
        inserter.rows("crowded", [{"n": 2}], "crowded-2")
    assert refused.value.retry_after_s == 2.0
    before = tables.count("crowded")
    tables.client.command("SYSTEM START MERGES refusals.crowded")
    tables.client.command("OPTIMIZE TABLE refusals.crowded FINAL")
    inserter.rows("crowded", [{"n": before}], f"crowded-{before}")
    assert tables.count("crowded") == before + 1
    inserter.close()


def test_a_wrong_password_is_retryable(store: EmbeddedStore) -> None:
    wrong = StoreInserter(lambda: connect(store.url, user=store.writer_user, password="wrong"), "refusals")
    with pytest.raises(StoreUnavailableError, match=r"(?i)authentication") as refused:
        wrong.rows("ledger", [ROW], "wrong")
    assert refused.value.retry_after_s == 10.0


def test_a_user_without_the_right_is_retryable(store: EmbeddedStore, tables: Database) -> None:
    reader = StoreInserter(lambda: connect(store.url, user="default", database="default"), "refusals")
    with pytest.raises(StoreUnavailableError, match=r"(?i)privileges|readonly"):
        reader.rows("ledger", [ROW], "reader")
    reader.close()


def test_a_table_that_is_not_there_yet_is_retryable(tables: Database) -> None:
    inserter = tables.inserter()
    with pytest.raises(StoreUnavailableError, match="UNKNOWN_TABLE"):
        inserter.rows("missing", [ROW], "missing")
    inserter.close()


@pytest.mark.parametrize(
    ("row", "named"),
    [
        ({**ROW, "Received": "many"}, "CANNOT_PARSE"),
        ({**ROW, "NoSuchColumn": 1}, "NO_SUCH_COLUMN_IN_TABLE"),
        ({**ROW, "Received": {"a": 1}}, "CANNOT_PARSE"),
    ],
)
def test_bytes_that_do_not_fit_the_table_are_permanent(tables: Database, row: dict[str, object], named: str) -> None:
    inserter = tables.inserter()
    with pytest.raises(PermanentError, match=named):
        inserter.rows("ledger", [row], "permanent")
    # The store is there and takes what is good.
    inserter.rows("ledger", [ROW], f"after {row}")
    inserter.close()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x01\x05\x08Received\x06UInt64\x01\x02", id="broken off"),
        pytest.param(b"\x01\x01\x08Received\x05Array" + bytes(8), id="no type"),
        pytest.param(b"\x01\x01\x08Received\x14Array(Array(UInt64))" + bytes(8), id="another type"),
    ],
)
def test_native_blocks_that_cannot_be_read_or_converted_are_permanent(tables: Database, body: bytes) -> None:
    inserter = tables.inserter()
    with pytest.raises(PermanentError):
        inserter.native("ledger", ["Received"], memoryview(body), 1, "native")
    inserter.close()


def test_a_store_that_refuses_one_table_stops_no_other_signal(tables: Database, tmp_path: Path) -> None:
    name = tables.name
    lines = {signal: Line(tmp_path, tables, signal, circuit_failures=2, circuit_open_s=0.1) for signal in Signal}
    tables.client.command(f"RENAME TABLE {name}.otel_logs TO {name}.logs_away")
    consumers = {signal: Consumer(signal, line.reader(), line.store(), line.settings) for signal, line in lines.items()}
    for signal, line in lines.items():
        line.append(*requests(signal, 2), tenant="acme")
        consumers[signal].start()
    try:
        until(lambda: consumers[Signal.LOGS].backoff.attempt >= 4)
        assert consumers[Signal.LOGS].failure is not None
        for signal in (Signal.TRACES, Signal.METRICS):
            until(lambda signal=signal: lines[signal].progress() == (len(lines[signal].records()), None))
            assert consumers[signal].failure is None
            assert_stored_once(lines[signal])
        # It goes on for what comes while the other still fails.
        lines[Signal.TRACES].append(request(Signal.TRACES, 77))
        until(lambda: lines[Signal.TRACES].progress() == (len(lines[Signal.TRACES].records()), None))
    finally:
        tables.client.command(f"RENAME TABLE {name}.logs_away TO {name}.otel_logs")
    drained = [consumer.drain(60) for consumer in consumers.values()]
    stopped = [consumer.stop(60) for consumer in consumers.values()]
    assert drained == stopped == [True] * 3
    for line in lines.values():
        assert_stored_once(line)
        line.close()


def test_while_a_store_is_away_the_circuit_is_open_and_when_it_is_back_everything_is_stored_once(
    store: EmbeddedStore, tmp_path: Path
) -> None:
    host, _, port = store.url.removeprefix("http://").partition(":")
    with cutting_proxy(host, int(port)) as proxy, database(store, "away") as made:
        line = Line(tmp_path, made, Signal.TRACES, circuit_failures=3, circuit_open_s=0.2, circuit_open_max_s=0.4)
        inserter = StoreInserter(
            lambda: connect(
                proxy.url,
                user=store.writer_user,
                password=store.writer_password,
                database="default",
                answer_timeout_s=5,
            ),
            made.name,
        )
        consumer = Consumer(Signal.TRACES, line.reader(), inserter, line.settings)
        breaker = inserter.breaker
        assert breaker is not None
        proxy.refuse()
        line.append(*requests(Signal.TRACES, 3))
        consumer.start()
        until(lambda: breaker.state is Circuit.OPEN)
        until(lambda: consumer.failure is not None)
        assert made.count("otel_traces") == 0
        proxy.allow()
        drained = consumer.drain(60)
        assert consumer.stop(60)
        assert drained
        assert breaker.state is Circuit.CLOSED
        assert_stored_once(line)
        line.close()
