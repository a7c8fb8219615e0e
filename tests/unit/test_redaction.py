"""Redaction of columns equals redaction by plain Python, value by value; rules that make no sense are refused."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from pydantic import ValidationError

from processors.arena import Arena
from processors.decode import decode
from processors.guard.redact import redact
from processors.guard.rules import ATTRIBUTES, TEXTS, RedactionRule
from schemas.signals import Signal
from tests import decode_oracle, guard_oracle, native_block
from tests.decoded import blocks, comparable
from tests.strategies import SEEDS, SIGNALS, record_of, records_from

KEY = b"sixteen bytes or more"
GLOBS = ("service.name", "SERVICE.*", "*.environment*", "k", "?", "*", "http*", "nothing-has-it", "a|b", "x.(")
PATTERNS = (r"[0-9]+", r"a", r"[A-Z][a-z]", r"\S+\s", r"^.{4}", r"é|日本", r"(?:b|c)+(d?)", r".+", "\x00", r"\\")


def random_rules(rng: random.Random) -> list[RedactionRule]:
    rules = []
    for number in range(rng.choice((1, 1, 2, 4))):
        fields: dict[str, Any] = {"name": f"r{number}", "action": rng.choice(("drop", "mask", "hash"))}
        if rng.random() < 0.5:
            fields["attributes"] = rng.sample(GLOBS, rng.choice((1, 2)))
        if "attributes" not in fields or rng.random() < 0.3:
            fields["pattern"] = rng.choice(PATTERNS)
        if rng.random() < 0.3:
            places = ATTRIBUTES if "attributes" in fields else (*ATTRIBUTES, *TEXTS)
            fields["where"] = rng.sample(places, 3)
        rules.append(RedactionRule(**fields))
    return rules


@given(SIGNALS, SEEDS)
@settings(max_examples=120, deadline=None)
def test_a_redacted_batch_has_the_rows_of_the_oracle(signal: Signal, seed: int) -> None:
    records, rules = records_from(seed, signal), random_rules(random.Random(seed))
    arena = Arena()
    decoded = decode(signal, records, arena)
    done = redact(decoded, rules, KEY)
    found = {name: native_block.rows(body) for name, body in blocks(decoded, arena).items()}
    rows, touched, counted = guard_oracle.redact(decode_oracle.rows(signal, records), rules, KEY)
    assert comparable(found) == comparable(rows)
    assert {name: about.tolist() for name, about in done.rows.items()} == touched
    assert +done.values == +counted


@pytest.mark.parametrize("count", [0, 1, 300, 70_000])
def test_dictionaries_of_every_width_take_new_texts(count: int) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    logs = request.resource_logs.add().scope_logs.add()
    for number in range(count):
        record = logs.log_records.add(event_name=f"event {number}", severity_text="text")
        record.body.string_value = f"body {number} of many, too long for a view"
        record.attributes.add(key=f"key{number % 700}").value.string_value = f"value {number} that is rather long"
    records = [record_of(Signal.LOGS, request.SerializeToString())]
    rules = [
        RedactionRule(name="body", action="hash", pattern="[0-9]+", where=("body", "name")),
        RedactionRule(name="keys", action="mask", attributes=("key1*",)),
        RedactionRule(name="some", action="drop", attributes=("key2*",)),
    ]
    arena = Arena()
    decoded = decode(Signal.LOGS, records, arena)
    redact(decoded, rules, KEY)
    found = {name: native_block.rows(body) for name, body in blocks(decoded, arena).items()}
    rows, _, _ = guard_oracle.redact(decode_oracle.rows(Signal.LOGS, records), rules, KEY)
    assert comparable(found) == comparable(rows)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"pattern": "("}, "must be a regular expression of RE2"),
        ({"pattern": "(?=a)"}, "must be a regular expression of RE2"),
        ({"pattern": "a*"}, "must not match the empty text"),
        ({}, "needs attributes, a pattern, or where"),
        ({"attributes": ["a"], "where": ["body"]}, "must be left out where it is body, which has no names"),
        ({"attributes": [""]}, "names must have 1 to 1000 characters"),
        ({"pattern": "a", "where": ["spans"]}, "Input should be 'resource'"),
        ({"pattern": "a", "action": "remove"}, "Input should be 'drop', 'mask' or 'hash'"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said.replace("(", r"\(")):
        RedactionRule(**({"name": "rule", "action": "mask"} | fields))


def test_texts_that_are_no_utf8_are_redacted_like_others() -> None:
    # Ingest refuses them; a Collector's record from Kafka may have them.
    import pyarrow as pa

    from processors.guard.texts import hashed, rewritten

    texts = pa.array([b"\xff bob@example.org \xfe"]).view(pa.string())
    rule = RedactionRule(name="mail", action="mask", pattern=r"\S+@\S+")
    assert rewritten(texts, rule, b"").cast(pa.binary()).to_pylist() == [b"\xff **** \xfe"]
    assert hashed(texts, KEY).to_pylist()[0].startswith("hmac:")
