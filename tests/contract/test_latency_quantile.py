"""Quantiles from the rollup's buckets against the durations themselves, in a real store."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest
from clickhouse_connect.driver.client import Client

from dashboards import queries
from sluiceway.embedded.store import EmbeddedStore
from tests.viewer_under_test import writer

EXPRESSION = f"WITH\n{queries.read('latency_quantile')}\n"
SHAPES: dict[str, Callable[[random.Random], int]] = {
    "log-normal": lambda source: int(source.lognormvariate(16, 1.5)),
    "two humps": lambda source: int(source.gauss(2e6, 1e5) if source.random() < 0.93 else source.gauss(8e8, 5e7)),
    "one value": lambda _: 1_234_567,
    "uniform": lambda source: source.randrange(1_000, 10**9),
    "a few nanoseconds": lambda source: source.randrange(8, 200),
}


@pytest.fixture(scope="module")
def client(store: EmbeddedStore) -> Iterator[Client]:
    with writer(store) as connected:
        yield connected


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("count", [1, 2, 19, 5000])
def test_p50_p95_and_p99_are_within_five_percent(client: Client, shape: str, count: int) -> None:
    source = random.Random(f"{shape} {count}")
    durations = sorted(max(SHAPES[shape](source), 1) for _ in range(count))
    buckets: dict[int, int] = {}
    for duration in durations:
        bucket = math.floor(math.log2(duration) * 8)
        buckets[bucket] = buckets.get(bucket, 0) + 1
    keys = sorted(buckets)
    wanted = {q: durations[math.ceil(q * count) - 1] for q in (0.5, 0.95, 0.99)}

    answer = client.query(
        EXPRESSION + "SELECT arrayMap(q -> latency_quantile(sumMap(part), q), {q:Array(Float64)}) FROM ("
        "SELECT arrayJoin([mapFromArrays({k:Array(UInt16)}, {c:Array(UInt64)})]) AS part)",
        parameters={"q": list(wanted), "k": keys, "c": [buckets[key] for key in keys]},
    ).result_rows[0][0]

    assert answer == pytest.approx(list(wanted.values()), rel=0.05)


def test_no_calls_have_no_quantile(client: Client) -> None:
    sql = EXPRESSION + "SELECT latency_quantile(sumMap(b), 0.5) FROM (SELECT map(1::UInt16, 1::UInt64) AS b WHERE 0)"
    assert client.query(sql).result_rows == [(None,)]


def test_every_question_can_be_asked_by_a_reader_of_its_text() -> None:
    assert "include:" not in "".join(queries.read(name) for name in queries.names())
