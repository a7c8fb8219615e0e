"""Words in log bodies: found as reading every body finds them, through an index that leaves most of them unread."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from processors import schema
from sluiceway.embedded.store import EmbeddedStore
from tests.kafka_broker import fresh_name
from tests.rows_in_store import KEPT, Database, database
from tests.viewer_under_test import insert, log_record

AT_S = 1_768_471_200
WORDS = ("order", "payment", "Timeout", "refused", "größe", "日本", "a1b2", "x_y", "4711")
BODIES = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=8).map(" ".join)


@pytest.fixture(scope="module")
def tables(store: EmbeddedStore) -> Iterator[Database]:
    with database(store, fresh_name("search").replace("-", "_")) as made:
        yield made


def bodies(tables: Database, where: str, **parameters: str) -> list[str]:
    found = tables.ask(f"SELECT Body FROM {{db}}.otel_logs WHERE {where} ORDER BY Body", **parameters)
    return [row["Body"] for row in found]


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(BODIES, min_size=1, max_size=30))
def test_a_word_is_found_in_every_body_that_holds_it_and_in_no_other(tables: Database, texts: list[str]) -> None:
    tables.client.command(f"TRUNCATE TABLE {tables.name}.otel_logs")
    records = [log_record(AT_S, "cart", text, trace_id="t", span_id="s") for text in texts]
    insert(tables.client, "otel_logs", records, tables.name)
    stored = bodies(tables, "1")
    for word in ("order", "timeout", "a1b2", "4711", "absent"):
        whole = re.compile(rf"(?<![0-9a-z\x80-\U0010ffff]){word}(?![0-9a-z\x80-\U0010ffff])")
        assert bodies(tables, "hasToken(lower(Body), {w:String})", w=word) == [
            body for body in stored if whole.search(re.sub("[A-Z]+", lambda part: part[0].lower(), body))
        ]


def test_most_bodies_are_left_unread_when_a_word_is_rare(tables: Database) -> None:
    tables.client.command(f"TRUNCATE TABLE {tables.name}.otel_logs")
    source = random.Random(3)
    texts = [f"Order {source.randrange(10**6)} of user {source.randrange(10**4)} was accepted" for _ in range(100_000)]
    texts[60_000] = "Order NEEDLE42 was refused"
    records = [log_record(AT_S, "cart", text, trace_id=f"{n // 10}", span_id="s") for n, text in enumerate(texts)]
    insert(tables.client, "otel_logs", records, tables.name)
    asked = "SELECT Body FROM {db}.otel_logs WHERE hasToken(lower(Body), 'needle42')"
    assert tables.ask(asked) == [{"Body": "Order NEEDLE42 was refused"}]
    plan = tables.answer(f"EXPLAIN indexes = 1 {asked}", "TabSeparated").decode()
    used = plan.partition("idx_lower_body")[2]
    kept, of = map(int, re.findall(r"Granules: (\d+)/(\d+)", used)[0])
    assert of >= 12
    assert kept <= 2


def test_a_table_that_lacks_an_index_gains_it(store: EmbeddedStore) -> None:
    with database(store, fresh_name("older").replace("-", "_")) as older:
        older.client.command(f"ALTER TABLE {older.name}.otel_logs DROP INDEX idx_lower_body")
        assert [step.reason for step in schema.apply(older.client, older.name, KEPT)] == ["idx_lower_body is missing"]
        assert schema.plan(older.client, older.name, KEPT) == []
