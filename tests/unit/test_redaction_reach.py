"""Every text of OTLP's definitions is reached by the places that docs/guards.md says, or is on its list of others."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

from ingest.wire_schema import REQUESTS
from processors.arena import Arena
from processors.decode import decode
from processors.guard.redact import redact
from processors.guard.rules import ATTRIBUTES, KEY, TEXTS, RedactionRule
from schemas.signals import Signal
from tests.decoded import blocks
from tests.guards_document import documented_others, documented_places
from tests.otlp_text_fields import MARKER_PATTERN, TextField, found, text_fields
from tests.strategies import record_of

PLACES = (*ATTRIBUTES, KEY, *TEXTS)
Numbered = Sequence[tuple[int, TextField]]


@cache
def fields_of(signal: Signal) -> Numbered:
    return list(enumerate(text_fields(REQUESTS[signal].DESCRIPTOR)))


def numbers_stored(signal: Signal, fields: Numbered, rules: Sequence[RedactionRule]) -> set[int]:
    """The fields whose marker an insert would carry."""
    arena = Arena()
    records = [record_of(signal, field.request(number).SerializeToString()) for number, field in fields]
    decoded = decode(signal, records, arena, marked=bool(rules))
    assert not decoded.faults
    redact(decoded, rules, b"a key of sixteen bytes")
    return found(fields, blocks(decoded, arena).values())


def rule(*where: Any, action: str = "mask") -> RedactionRule:
    return RedactionRule(name="marker", action=action, pattern=MARKER_PATTERN, where=where)  # type: ignore[arg-type]


def unaccounted(signal: Signal, fields: Numbered) -> set[str]:
    """Fields that are neither reached by a rule that looks everywhere nor listed, or that are not as listed."""
    before, after = numbers_stored(signal, fields, []), numbers_stored(signal, fields, [rule(*PLACES)])
    others = documented_others()
    wrong = set()
    for number, field in fields:
        listed = next((others[step] for step in field.steps if step in others), None)
        expected = (True, False) if listed is None else (listed, listed)
        if (number in before, number in after) != expected:
            wrong.add(".".join(field.steps))
    return wrong


def test_every_place_is_documented() -> None:
    assert set(documented_places()) == set(PLACES)


@pytest.mark.parametrize("signal", list(Signal))
def test_every_text_of_the_protocol_is_redacted_or_on_the_list(signal: Signal) -> None:
    assert len(fields_of(signal)) > 50
    assert unaccounted(signal, fields_of(signal)) == set()


@pytest.mark.parametrize("action", ["drop", "hash"])
@pytest.mark.parametrize("signal", list(Signal))
def test_every_action_takes_every_text_away(signal: Signal, action: str) -> None:
    listed = {number for number, field in fields_of(signal) if not documented_others().keys().isdisjoint(field.steps)}
    assert numbers_stored(signal, fields_of(signal), [rule(*PLACES, action=action)]) <= listed


def test_each_place_reaches_exactly_the_fields_that_are_documented() -> None:
    reached: dict[str, set[str]] = defaultdict(set)
    for signal in Signal:
        fields = fields_of(signal)
        before = numbers_stored(signal, fields, [])
        for place in PLACES:
            gone = before - numbers_stored(signal, fields, [rule(place)])
            names = {fields[number][1].name for number in gone}
            # A place reaches all ways to a field, or none.
            assert {number for number, field in fields if number in before and field.name in names} == gone
            reached[place] |= names
    assert reached == documented_places()


def test_nothing_is_on_the_list_that_the_protocol_does_not_have() -> None:
    steps = {step for signal in Signal for _, field in fields_of(signal) for step in field.steps}
    assert documented_others().keys() <= steps


def test_a_rule_without_places_looks_where_it_always_did() -> None:
    everything = RedactionRule(name="marker", action="mask", pattern=MARKER_PATTERN)
    named = RedactionRule(name="marker", action="mask", attributes=("*",))
    assert everything.places == {*ATTRIBUTES, "body", "status"}
    assert named.places == set(ATTRIBUTES)


NEW_FIELDS = [
    ("trace", "trace", "Span", FieldDescriptorProto.TYPE_STRING, "opentelemetry.proto.trace.v1.Span.new_text"),
    ("logs", "logs", "LogRecord", FieldDescriptorProto.TYPE_BYTES, "opentelemetry.proto.logs.v1.LogRecord.new_text"),
    ("metrics", "common", "AnyValue", FieldDescriptorProto.TYPE_STRING, "common.v1.AnyValue.new_text"),
]


@pytest.mark.parametrize(("service", "file", "message", "kind", "_"), NEW_FIELDS)
def test_a_field_that_the_protocol_gains_is_missed(service: str, file: str, message: str, kind: Any, _: str) -> None:
    signal = {"trace": Signal.TRACES, "logs": Signal.LOGS, "metrics": Signal.METRICS}[service]
    request = with_field(REQUESTS[signal].DESCRIPTOR, f"opentelemetry/proto/{file}/v1/{file}.proto", message, kind)
    fields = list(enumerate(text_fields(request)))
    assert {name.rpartition(f"{message}.")[2] for name in unaccounted(signal, fields)} == {"new_text"}


def with_field(request: Descriptor, file: str, message: str, kind: Any) -> Descriptor:
    """The same request of a protocol that has one field more."""
    pool, seen = DescriptorPool(), set()

    def add(each: Any) -> None:
        if each.name in seen:
            return
        seen.add(each.name)
        for needed in each.dependencies:
            add(needed)
        made = FileDescriptorProto()
        each.CopyToProto(made)
        if made.name == file:
            [owner] = [owner for owner in made.message_type if owner.name == message]
            owner.field.add(name="new_text", number=999, type=kind, label=FieldDescriptorProto.LABEL_OPTIONAL)
        pool.Add(made)  # type: ignore[attr-defined]

    add(request.file)
    assert file in seen
    return pool.FindMessageTypeByName(request.full_name)
