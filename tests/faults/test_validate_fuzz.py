"""Mutated requests by the thousands, or millions, into the compiled validator, which must never read a byte too many.

Each input ends where a page begins that must not be read: an over-read ends the test run with a segmentation fault.
`SLUICEWAY_FUZZ_INPUTS` sets the number of inputs of the long run.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
from collections import Counter

import numpy as np
import pytest

from ingest import validate_walk
from ingest.validate_kernel import compiled_walk, scan
from ingest.validate_walk import NO_BOUND
from ingest.wire_schema import REQUESTS, SCHEMA
from schemas.signals import Signal
from tests.otlp_requests import WINDOW, encode, items, mutate, request

ROOM = 64 * 1024
OLDEST, NEWEST = np.uint64(WINDOW["oldest_ns"]), np.uint64(WINDOW["newest_ns"])
NO_RANGES = np.empty((0, 2), np.int64)


class GuardedBytes:
    """Memory that ends at a page without access. Inputs are placed at its end."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, ROOM + mmap.PAGESIZE)
        self.bytes = np.frombuffer(self.memory, np.uint8)
        guard = ctypes.c_void_p(self.bytes.ctypes.data + ROOM)
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0, os.strerror(ctypes.get_errno())

    def place(self, body: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
        placed = self.bytes[ROOM - len(body) : ROOM]
        placed[:] = np.frombuffer(body, np.uint8)
        view = placed.view()
        view.setflags(write=False)
        return view


def fuzz(inputs: int, seed: int) -> Counter[int]:
    """How often each rule was broken; 0 counts what was accepted."""
    rng = random.Random(seed)
    guarded = GuardedBytes()
    found = np.zeros(14, np.int64)
    outcomes: Counter[int] = Counter()
    signal, sources = Signal.TRACES, [b""]
    for number in range(inputs):
        if number % 5000 == 0:
            signal = list(Signal)[number // 5000 % 3]
            faults = rng.choice([0.0, 0.01])
            sources = [encode(request(rng, signal, faults=faults, repeats=rng.choice([1, 2]))) for _ in range(20)]
            sources = [source for source in sources if len(source) < 4000] or [b"\x0a\x02\x12\x00"]
        root = SCHEMA.roots[signal]
        body = mutate(rng, rng.choice(sources))
        rule = int(scan(guarded.place(body), SCHEMA.table, root, OLDEST, NEWEST, NO_BOUND, NO_BOUND, NO_RANGES, found))
        outcomes[rule] += 1
        if rule:
            assert 0 <= found[3] <= len(body)
        else:
            assert 0 <= found[1] <= found[0] <= len(body)
        if number % 20 == 0:
            against_python_and_protobuf(signal, body, rule)
    return outcomes


def against_python_and_protobuf(signal: Signal, body: bytes, rule: int) -> None:
    if rule:
        with pytest.raises(validate_walk.BrokenError) as refusal:
            validate_walk.walk(body, SCHEMA.roots[signal], int(OLDEST), int(NEWEST))
        assert refusal.value.broken.rule == rule
        return
    walked = validate_walk.walk(body, SCHEMA.roots[signal], int(OLDEST), int(NEWEST))
    assert compiled_walk(body, SCHEMA.roots[signal], int(OLDEST), int(NEWEST)) == walked
    if walked.fault is None:
        assert len(list(items(REQUESTS[signal].FromString(body)))) == walked.items


def test_mutated_requests_are_judged_alike_and_never_read_past_their_end() -> None:
    outcomes = fuzz(30_000, seed=1)
    assert sum(outcomes.values()) == 30_000
    assert outcomes[0] > 1000
    assert len(outcomes) > 8


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_ten_million_mutated_requests_are_judged_alike_and_never_read_past_their_end() -> None:
    inputs = int(os.environ.get("SLUICEWAY_FUZZ_INPUTS", "10000000"))
    assert sum(fuzz(inputs, seed=random.SystemRandom().randrange(2**32)).values()) == inputs
