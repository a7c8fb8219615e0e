"""What ingest accepts, the decoder decodes: the promise behind the ack, held on valid and on mutated requests."""

from __future__ import annotations

import random

import pytest

from ingest.validate import validate
from processors.arena import Arena
from processors.decode import decode
from schemas.errors import PermanentError
from schemas.log import Record
from schemas.signals import Signal
from tests.otlp_requests import mutate, request

NOW_NS = 1_760_000_000_000_000_000
DAY_NS = 86_400 * 10**9
_REQUESTS = 300
_MUTANTS_EACH = 20


def _accepted(rng: random.Random, signal: Signal) -> tuple[list[bytes], list[int]]:
    bodies: list[bytes] = []
    items: list[int] = []
    for _ in range(_REQUESTS):
        body = request(rng, signal, faults=0.05).SerializeToString()
        for candidate in [body, *(mutate(rng, body) for _ in range(_MUTANTS_EACH))]:
            try:
                verdict = validate(
                    signal, candidate, now_ns=NOW_NS, oldest_ns=NOW_NS - 30 * DAY_NS, newest_ns=NOW_NS + DAY_NS
                )
            except PermanentError:
                continue
            bodies.append(verdict.body)
            items.append(verdict.items)
    return bodies, items


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("seed", range(2))
def test_every_accepted_request_decodes_to_as_many_items_as_were_acked(signal: Signal, seed: int) -> None:
    bodies, items = _accepted(random.Random(seed), signal)
    records = [
        Record("topic", 0, offset, body, "", NOW_NS, count)
        for offset, (body, count) in enumerate(zip(bodies, items, strict=True))
    ]
    decoded = decode(signal, records, Arena())
    assert decoded.faults == []
    assert decoded.items.tolist() == items
    assert len(bodies) > _REQUESTS


@pytest.mark.parametrize("signal", Signal)
def test_accepted_requests_coalesced_into_one_record_keep_their_items(signal: Signal) -> None:
    bodies, items = _accepted(random.Random(7), signal)
    coalesced = Record("topic", 0, 0, b"".join(bodies), "", NOW_NS, sum(items))
    decoded = decode(signal, [coalesced], Arena())
    assert decoded.faults == []
    assert decoded.items.tolist() == [sum(items)]
