"""Mutated requests and random bytes by the thousands, or millions, through decoder and encoder.

Every array ends at a page that must not be touched, so an over-read or over-write ends the test run with a segmentation
fault. `SLUICEWAY_FUZZ_INPUTS` sets the number of inputs of the long run.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from signal import SIGSEGV

import pytest
from google.protobuf.message import DecodeError

from ingest.wire_schema import REQUESTS
from processors.arena import Arena
from processors.decode import Decoded, batch, decode, json_text, space
from schemas.columns import tables_of
from schemas.log import Record
from schemas.signals import Signal
from tests.decoded import blocks
from tests.guarded_arena import GuardedArena
from tests.otlp_requests import items, mutate
from tests.strategies import message, record_of

BATCH = 1000
SIGNALS = tuple(Signal)


def sources(rng: random.Random, signal: Signal) -> list[bytes]:
    """Small requests, each with an item at least."""
    made: list[bytes] = []
    while len(made) < 20:
        request = message(rng, signal, rng.choice((1, 2, 3)))
        value = request.SerializeToString()
        if len(value) < 2000 and any(True for _ in items(request)):
            made.append(value)
    return made


def inputs(rng: random.Random, values: list[bytes]) -> list[bytes]:
    return [
        mutate(rng, rng.choice(values)) if rng.random() < 0.95 else rng.randbytes(rng.randint(0, 60))
        for _ in range(BATCH)
    ]


def fuzz(count: int, seed: int) -> Counter[str]:
    """How many inputs were faults and how many gave rows, in all."""
    rng = random.Random(seed)
    arena = GuardedArena()
    outcomes: Counter[str] = Counter()
    for number in range(count // BATCH):
        signal = SIGNALS[number % 3]
        values = inputs(rng, sources(rng, signal))
        records = [record_of(signal, value, offset) for offset, value in enumerate(values)]
        decoded = decode(signal, records, arena)
        blocks(decoded, arena)
        bad = {fault.record for fault in decoded.faults}
        assert len(bad) == len(decoded.faults)
        assert all(0 <= fault.at < len(values[fault.record]) for fault in decoded.faults)
        assert not decoded.items[sorted(bad)].any()
        outcomes["faults"] += len(bad)
        outcomes["records"] += BATCH - len(bad)
        outcomes["rows"] += int(decoded.items.sum())
        if number % 20 < 3:
            against_protobuf(signal, values, bad, decoded)
            without_the_faults(signal, records, bad, decoded)
    return outcomes


def against_protobuf(signal: Signal, values: list[bytes], bad: set[int], decoded: Decoded) -> None:
    for index, value in enumerate(values):
        if index in bad:
            continue
        try:
            count = len(list(items(REQUESTS[signal].FromString(value))))
        except DecodeError:
            # Text that is no UTF-8, which the decoder leaves as it is.
            continue
        # Data of two kinds in one metric: protobuf keeps the last, the decoder what ingest has counted, both.
        assert decoded.items[index] == count or (signal is Signal.METRICS and decoded.items[index] > count)


def without_the_faults(signal: Signal, records: list[Record], bad: set[int], decoded: Decoded) -> None:
    good = [record for index, record in enumerate(records) if index not in bad]
    arena, other = GuardedArena(fill=0xFF), Arena()
    alone = decode(signal, good, arena)
    assert alone.faults == []
    assert blocks(alone, arena) == blocks(decode(signal, records, other), other)


def test_mutated_requests_and_random_bytes_are_decoded_or_named_and_nothing_is_read_past_its_end() -> None:
    outcomes = fuzz(60_000, seed=1)
    assert outcomes["faults"] + outcomes["records"] == 60_000
    assert outcomes["faults"] > 10_000
    assert outcomes["rows"] > 20_000


def test_one_byte_past_an_array_ends_the_process() -> None:
    program = (
        "import ctypes; from tests.guarded_arena import GuardedArena;"
        " array = GuardedArena().empty(10, 'u1'); array[9] = 1; ctypes.string_at(array.ctypes.data, 11)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert ended.returncode == -SIGSEGV


@pytest.mark.parametrize("signal", SIGNALS)
def test_working_arrays_that_begin_too_small_grow_to_the_same_result(
    signal: Signal, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(5)
    values = [message(rng, signal, 3).SerializeToString() for _ in range(20)]
    records = [record_of(signal, value, offset) for offset, value in enumerate(values)]
    large = Arena()
    expected = blocks(decode(signal, records, large), large)
    grown: Counter[int] = Counter()

    class Watched(list[int]):
        def __setitem__(self, number: int, size: int) -> None:  # type: ignore[override]
            grown[number] += 1
            super().__setitem__(number, size)

    def smallest(_: int) -> list[int]:
        sizes = Watched([1] * space.ARRAYS)
        for number, least in ((space.WORK_CELLS, 4 * json_text.MAX_DEPTH), (space.KEYS, 2), (space.VALUES, 2)):
            list.__setitem__(sizes, number, least)
        return sizes

    monkeypatch.setattr(batch, "sizes_for", smallest)
    arena = GuardedArena(fill=0xAA)
    assert blocks(decode(signal, records, arena), arena) == expected
    assert set(expected) == {table.name for table in tables_of(signal)}
    common = {
        space.SCRATCH_BYTES,
        space.WORK_CELLS,
        space.KEYS,
        space.VALUES,
        space.RESOURCES,
        space.SCOPES,
        space.ITEMS,
    }
    assert common <= set(grown)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_million_mutated_requests_are_decoded_or_named_and_nothing_is_read_past_its_end() -> None:
    count = int(os.environ.get("SLUICEWAY_FUZZ_INPUTS", "10000000"))
    outcomes = fuzz(count, seed=random.SystemRandom().randrange(2**32))
    print(f"{count} inputs: {dict(outcomes)}")
    assert outcomes["faults"] + outcomes["records"] == count
