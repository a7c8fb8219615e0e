"""Inserts through a network that breaks: whatever the client was told or not, every row is in the store once."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clickhouse_connect.driver.client import Client

from processors.consume import Consumer
from processors.insert import StoreInserter
from processors.store_client import connect
from schemas.errors import StoreUnavailableError
from schemas.signals import Signal
from sluiceway.embedded.store import EmbeddedStore
from tests.contract.test_exactly_once import assert_stored_once, request, requests
from tests.faults.cutting_proxy import CuttingProxy, cutting_proxy
from tests.line_under_test import Line
from tests.rows_in_store import Database, database


@pytest.fixture(scope="module")
def tables(store: EmbeddedStore) -> Iterator[Database]:
    with database(store, "cut_connections") as made:
        yield made


@pytest.fixture
def proxy(store: EmbeddedStore, tables: Database) -> Iterator[CuttingProxy]:
    tables.client.command(f"TRUNCATE TABLE {tables.name}.ledger")
    host, _, port = store.url.removeprefix("http://").partition(":")
    with cutting_proxy(host, int(port)) as made:
        yield made


@pytest.fixture
def reach(store: EmbeddedStore, proxy: CuttingProxy) -> Callable[[], Client]:
    return lambda: connect(
        proxy.url, user=store.writer_user, password=store.writer_password, database="default", answer_timeout_s=5
    )


@pytest.fixture
def inserter(tables: Database, reach: Callable[[], Client]) -> Iterator[StoreInserter]:
    made = StoreInserter(reach, tables.name)
    yield made
    made.close()


TOKEN = re.compile(rb"insert_deduplication_token=([^& ]+)")


def rows(count: int, padding: int = 0) -> list[dict[str, object]]:
    return [
        {
            "LogId": "l" * (1 + padding),
            "Topic": "otlp_spans",
            "Partition": 0,
            "FirstOffset": n,
            "LastOffset": n,
            "Received": 1,
        }
        for n in range(count)
    ]


def received(tables: Database) -> int:
    return int(tables.ask("SELECT count() AS n FROM {db}.ledger")[0]["n"])


def test_a_connection_cut_after_the_insert_was_committed_stores_it_once(
    tables: Database, proxy: CuttingProxy, inserter: StoreInserter
) -> None:
    proxy.cut_answers(3)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            inserter.rows("ledger", rows(7), "token-a")
        # Committed, which the client cannot know.
        assert received(tables) == 7
    assert [answer[:15] for answer in proxy.dropped] == [b"HTTP/1.1 200 OK"] * 3
    inserter.rows("ledger", rows(7), "token-a")
    assert received(tables) == 7
    inserter.rows("ledger", rows(7), "token-b")
    assert received(tables) == 14


def test_a_connection_cut_within_the_body_stores_nothing_until_it_is_sent_again(
    tables: Database, proxy: CuttingProxy, inserter: StoreInserter
) -> None:
    body = rows(3000, padding=500)
    proxy.cut_requests(after_bytes=600_000)
    with pytest.raises(StoreUnavailableError):
        inserter.rows("ledger", body, "token-c")
    assert received(tables) == 0
    inserter.rows("ledger", body, "token-c")
    assert received(tables) == 3000


def test_an_answer_that_comes_after_the_client_gave_up_leaves_one_copy(
    tables: Database, proxy: CuttingProxy, inserter: StoreInserter
) -> None:
    proxy.delay_answers(7)
    with pytest.raises(StoreUnavailableError, match=r"(?i)timed? ?out"):
        inserter.rows("ledger", rows(5), "token-d")
    inserter.rows("ledger", rows(5), "token-d")
    assert received(tables) == 5


def test_a_store_that_refuses_connections_is_retryable_and_is_found_again(
    tables: Database, proxy: CuttingProxy, inserter: StoreInserter
) -> None:
    inserter.rows("ledger", rows(1), "token-e")
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            inserter.rows("ledger", rows(2), "token-f")
    proxy.allow()
    inserter.close()
    inserter.rows("ledger", rows(2), "token-f")
    assert received(tables) == 3


@pytest.mark.parametrize("status", ["500 Internal Server Error", "502 Bad Gateway", "503 Service Unavailable"])
def test_an_answer_of_something_between_us_and_the_store_is_retryable(
    tables: Database, proxy: CuttingProxy, inserter: StoreInserter, status: str
) -> None:
    proxy.answer(status, "", "upstream is away")
    with pytest.raises(StoreUnavailableError, match="upstream is away"):
        inserter.rows("ledger", rows(2), "token-g")
    assert (received(tables), proxy.armed) == (0, 0)
    inserter.rows("ledger", rows(2), "token-g")
    assert received(tables) == 2


@pytest.mark.parametrize("signal", list(Signal))
def test_batches_of_which_every_insert_loses_its_answer_twice_are_stored_once_with_rollups_and_ledger(
    store: EmbeddedStore, proxy: CuttingProxy, reach: Callable[[], Client], tmp_path: Path, signal: Signal
) -> None:
    with database(store, f"cut_{signal}") as made:
        line = Line(tmp_path, made, signal, max_rows=150, retry_max_s=0.05)
        line.append(*requests(signal, 3), tenant="acme")
        line.append(*[request(signal, seed) for seed in range(200, 208)], tenant="blue")
        cut: Counter[bytes] = Counter()

        def has_met_less_than_two(first: bytes) -> bool:
            found = TOKEN.search(first)
            assert found is not None
            cut[found[1]] += 1
            return cut[found[1]] <= 2

        proxy.cut_answers(10_000, when=has_met_less_than_two)
        consumer = Consumer(signal, line.reader(), StoreInserter(reach, made.name), line.settings)
        consumer.start()
        drained = consumer.drain(120)
        assert consumer.stop(60)
        assert drained
        assert len(cut) > 1
        assert [answer[:15] for answer in proxy.dropped] == [b"HTTP/1.1 200 OK"] * 2 * len(cut)
        assert_stored_once(line)
        line.close()
