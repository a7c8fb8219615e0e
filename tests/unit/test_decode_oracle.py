"""Requests made at random decode to the rows that plain Python makes of the protobuf library's objects."""

from __future__ import annotations

from hypothesis import given, settings

from schemas.signals import Signal
from tests import decode_oracle
from tests.decoded import comparable, decoded_rows
from tests.strategies import SEEDS, SIGNALS, records_from


@given(SIGNALS, SEEDS)
@settings(max_examples=300, deadline=None)
def test_every_batch_decodes_to_the_rows_of_the_oracle(signal: Signal, seed: int) -> None:
    records = records_from(seed, signal)
    assert comparable(decoded_rows(signal, records)) == comparable(decode_oracle.rows(signal, records))
