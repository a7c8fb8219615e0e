"""Spans and log records become rows in the order of their services, as their tables are sorted."""

from __future__ import annotations

import numpy as np
import pytest

from processors.arena import Arena
from processors.decode import decode, order
from schemas.log import Record
from schemas.signals import Signal
from tests.decoded import decoded_rows
from tests.otlp_validation import field, key_value
from tests.strategies import record_of

BOTH = pytest.mark.parametrize("signal", [Signal.TRACES, Signal.LOGS])
TEXT = {Signal.TRACES: ("SpanName", 5), Signal.LOGS: ("EventName", 12)}


def group(signal: Signal, service: str | None, *names: str) -> bytes:
    """A resource group of one scope, a span or log record of each name; '!' is one that breaks off."""
    attributes = b"" if service is None else attribute("service.name", service)
    number = TEXT[signal][1]
    items = b"".join(field(2, b"\x0a\x05" if name == "!" else field(number, name.encode())) for name in names)
    return field(1, field(1, attributes) + field(2, items))


def attribute(key: str, value: str) -> bytes:
    return field(1, key_value(key.encode(), field(1, value.encode())))


def batch(signal: Signal, *values: bytes) -> list[Record]:
    return [record_of(signal, value, offset) for offset, value in enumerate(values)]


def names(signal: Signal, *values: bytes) -> list[str]:
    [rows] = decoded_rows(signal, batch(signal, *values)).values()
    return [row[TEXT[signal][0]] for row in rows]


@BOTH
def test_rows_come_by_service_and_those_of_one_service_as_they_came(signal: Signal) -> None:
    first = group(signal, "pay", "1", "2") + group(signal, "cart", "3")
    second = group(signal, "cart", "4") + group(signal, None, "5") + group(signal, "pay", "6")
    assert names(signal, first, second) == ["5", "3", "4", "1", "2", "6"]


@BOTH
def test_services_stand_in_the_order_of_their_bytes_as_in_the_store(signal: Signal) -> None:
    services = ["é", "z", "Z", "a", "ab", ""]
    value = b"".join(group(signal, service, service or "none") for service in services)
    assert names(signal, value) == ["none", "Z", "a", "ab", "z", "é"]


@BOTH
def test_of_two_names_of_a_service_the_first_counts_as_in_its_column(signal: Signal) -> None:
    twice = field(1, field(1, attribute("service.name", "a") + attribute("service.name", "z"))
                  + field(2, field(2, field(TEXT[signal][1], b"1"))))  # fmt: skip
    assert names(signal, group(signal, "m", "2"), twice) == ["1", "2"]


@BOTH
def test_every_row_knows_its_record(signal: Signal) -> None:
    decoded = decode(signal, batch(signal, group(signal, "z", "1", "2"), b"", group(signal, "a", "3")), Arena())
    [record] = decoded.record_of_row.values()
    assert record.tolist() == [2, 0, 0]
    assert decoded.items.tolist() == [2, 0, 1]


@BOTH
def test_the_first_fault_of_a_record_is_told_whatever_its_service(signal: Signal) -> None:
    sound = group(signal, "m", "1")
    values = [group(signal, "z", "2", "!"), group(signal, "a", "!", "3")]
    decoded = decode(signal, batch(signal, sound, b"".join(values)), Arena())
    [fault] = decoded.faults
    assert (fault.record, decoded.items.tolist()) == (1, [1, 0])
    assert fault.at < len(values[0])


@BOTH
def test_a_batch_of_several_blocks_stays_as_it_came(signal: Signal, monkeypatch: pytest.MonkeyPatch) -> None:
    # Its blocks are told by their rows, and one that was begun by an earlier release must be the same now.
    monkeypatch.setattr(order, "ONE_BLOCK_ROWS", 3)
    values = [group(signal, "z", "1", "2"), group(signal, "a", "3")]
    assert names(signal, *values) == ["3", "1", "2"]
    assert names(signal, *values, group(signal, "a", "4")) == ["1", "2", "3", "4"]


def test_a_batch_without_items_has_no_runs() -> None:
    decoded = decode(Signal.TRACES, batch(Signal.TRACES, b"", group(Signal.TRACES, "cart")), Arena())
    assert (decoded.tables, np.sum(decoded.items)) == ({}, 0)
