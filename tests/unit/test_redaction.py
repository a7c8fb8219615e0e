"""Redaction of columns equals redaction by plain Python, value by value; rules that make no sense are refused."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from pydantic import ValidationError

from processors.arena import Arena
from processors.decode import decode, marks
from processors.guard.redact import redact
from processors.guard.rules import ATTRIBUTES, TEXTS, RedactionRule
from processors.guard.series import points_of
from schemas.log import Record
from schemas.signals import Signal
from tests import decode_oracle, guard_oracle, native_block
from tests.decoded import blocks, comparable, decoded_rows
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
        if rng.random() < 0.6:
            places = (*ATTRIBUTES, "key") if "attributes" in fields else (*ATTRIBUTES, "key", *TEXTS)
            fields["where"] = rng.sample(places, rng.choice((1, 3, 6)))
        rules.append(RedactionRule(**fields))
    return rules


@given(SIGNALS, SEEDS)
@settings(max_examples=120, deadline=None)
def test_a_redacted_batch_has_the_rows_of_the_oracle(signal: Signal, seed: int) -> None:
    records, rules = records_from(seed, signal), random_rules(random.Random(seed))
    arena = Arena()
    decoded = decode(signal, records, arena, marked=True)
    done = redact(decoded, rules, KEY)
    found = {name: native_block.rows(body) for name, body in blocks(decoded, arena).items()}
    rows, touched, counted = guard_oracle.redact(decode_oracle.rows(signal, records), rules, KEY)
    assert comparable(found) == comparable(rows)
    assert {name: about.tolist() for name, about in done.rows.items()} == touched
    assert +done.values == +counted


@given(SIGNALS, SEEDS)
@settings(max_examples=60, deadline=None)
def test_without_a_rule_a_batch_that_was_decoded_for_rules_is_as_any_other(signal: Signal, seed: int) -> None:
    records, arena = records_from(seed, signal), Arena()
    decoded = decode(signal, records, arena, marked=True)
    assert redact(decoded, [], KEY).values == {}
    found = {name: native_block.rows(body) for name, body in blocks(decoded, arena).items()}
    assert comparable(found) == comparable(decoded_rows(signal, records))
    assert not decoded.marked


def test_rows_have_one_order_also_where_a_service_is_named_in_bytes() -> None:
    request = ExportLogsServiceRequest()
    for name in (AnyValue(string_value="b"), AnyValue(bytes_value=b"a"), AnyValue(string_value="X")):
        group = request.resource_logs.add()
        group.resource.attributes.add(key="service.name").value.MergeFrom(name)
        group.scope_logs.add().log_records.add()
    records, arena = [record_of(Signal.LOGS, request.SerializeToString())], Arena()
    decoded = decode(Signal.LOGS, records, arena, marked=True)
    redact(decoded, [], KEY)
    services = [row["ServiceName"] for row in native_block.rows(blocks(decoded, arena)["otel_logs"])]
    assert services == ["X", "YQ==", "b"]
    assert services == [row["ServiceName"] for row in decoded_rows(Signal.LOGS, records)["otel_logs"]]


def one_log(**attributes: bytes | str) -> list[Record]:
    """A log record of a body `ann@example.org` in bytes, and these attributes."""
    request = ExportLogsServiceRequest()
    record = request.resource_logs.add().scope_logs.add().log_records.add()
    record.body.bytes_value = b"mail of ann@example.org"
    for name, value in attributes.items():
        held = record.attributes.add(key=name).value
        held.MergeFrom(AnyValue(bytes_value=value) if isinstance(value, bytes) else AnyValue(string_value=value))
    return [record_of(Signal.LOGS, request.SerializeToString())]


def stored(records: list[Record], *rules: RedactionRule) -> tuple[str, dict[str, str]]:
    """Body and attributes as they are stored."""
    arena = Arena()
    decoded = decode(Signal.LOGS, records, arena, marked=True)
    redact(decoded, rules, KEY)
    [row] = native_block.rows(blocks(decoded, arena)["otel_logs"])
    return row["Body"], dict(row["LogAttributes"])


MAIL = r"[a-z]+@[a-z.]+"


def test_bytes_are_read_as_text_and_those_that_no_rule_is_about_stay_in_base64() -> None:
    records = one_log(a=b"ann@example.org", b=b"nobody", c=b"\xff ann@example.org", d="bm9ib2R5")
    body, attributes = stored(records, RedactionRule(name="mail", action="mask", pattern=MAIL))
    assert body == "mail of ****"
    assert attributes == {"a": "****", "b": "bm9ib2R5", "c": "/yBhbm5AZXhhbXBsZS5vcmc=", "d": "bm9ib2R5"}
    # A pattern for the base64 sees it, as it always did.
    _, attributes = stored(records, RedactionRule(name="base64", action="mask", pattern="bm9i.*"))
    assert attributes["b"] == attributes["d"] == "****"
    _, attributes = stored(records, RedactionRule(name="hash", action="hash", attributes=("a",)))
    assert attributes["a"] == guard_oracle.hashed("ann@example.org", KEY)


def test_names_that_rules_make_equal_stand_beside_each_other_and_maps_stay_sorted() -> None:
    arena = Arena()
    records = one_log(**{"b@x": "1", "kept": "2", "zz@x": "3", "a": "4"})
    decoded = decode(Signal.LOGS, records, arena, marked=True)
    redact(decoded, [RedactionRule(name="keys", action="mask", pattern=MAIL, where=("key",))], KEY)
    [row] = native_block.rows(blocks(decoded, arena)["otel_logs"])
    assert row["LogAttributes"] == [("****", "1"), ("****", "3"), ("a", "4"), ("kept", "2")]
    assert stored(records, RedactionRule(name="keys", action="drop", pattern="@", where=("key",)))[1].keys() == {
        "a",
        "kept",
    }
    # `attributes` chooses by the name as it is, and values of the same rule come before names.
    rule = RedactionRule(name="both", action="mask", attributes=("k*",), where=("key", "log"))
    assert stored(records, rule)[1] == {"****": "****", "a": "4", "b@x": "1", "zz@x": "3"}


def test_series_that_a_rule_makes_equal_have_one_number() -> None:
    request = ExportMetricsServiceRequest()
    metric = request.resource_metrics.add().scope_metrics.add().metrics.add(name="calls")
    for name in ("aa@x", "zz@x"):
        point = metric.gauge.data_points.add(as_int=1)
        for key in ("m", name):
            point.attributes.add(key=key).value.string_value = "same"
    decoded = decode(Signal.METRICS, [record_of(Signal.METRICS, request.SerializeToString())], Arena())
    redact(decoded, [RedactionRule(name="keys", action="mask", pattern=MAIL, where=("key",))], KEY)
    assert len(set(points_of(decoded.tables["otel_metrics_gauge"]).series.tolist())) == 1


@pytest.mark.parametrize("count", [0, 1, 300, 70_000])
def test_dictionaries_of_every_width_take_new_texts(count: int) -> None:
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
    from processors.guard.texts import hashed, rewritten

    texts = pa.array([b"\xff bob@example.org \xfe"]).view(pa.string())
    rule = RedactionRule(name="mail", action="mask", pattern=r"\S+@\S+")
    assert rewritten(texts, rule, b"").cast(pa.binary()).to_pylist() == [b"\xff **** \xfe"]
    assert hashed(texts, KEY).to_pylist()[0].startswith("hmac:")


def test_marked_values_are_read_in_parts_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    records = one_log(**{f"k{n}": f"text {n}".encode() if n % 3 else "plain" for n in range(20)})
    maps = decode(Signal.LOGS, records, Arena(), marked=True).tables["otel_logs"].column("LogAttributes")
    texts = maps.items.cast(pa.string())
    at_once = marks.readings(texts)
    monkeypatch.setattr(marks, "_AT_ONCE", 3)
    in_parts = marks.readings(texts)
    assert [each.to_pylist() for each in in_parts] == [each.to_pylist() for each in at_once]
    assert at_once[0].to_pylist()[:3] != at_once[1].to_pylist()[:3]
