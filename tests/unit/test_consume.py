"""Which batches a consumer makes of several partitions: as large as may be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pytest

from processors import consume as consume_module
from processors.batch import OpenBatch
from processors.consume import Consumer
from processors.insert import StoreInserter
from processors.settings import BatchSettings
from schemas.log import Progress, Record
from schemas.settings import MIB
from schemas.signals import Signal


class Partitions:
    """Partitions with a record at every look, or without end, of `size_bytes` each, until `last` is reached."""

    def __init__(self, sizes_bytes: Sequence[int], last: int, *, one_a_look: bool = False) -> None:
        self._values = [bytes(size_bytes) for size_bytes in sizes_bytes]
        self._last = last
        self._one_a_look = one_a_look
        self._read = [False] * len(sizes_bytes)
        self.at = [0] * len(sizes_bytes)

    def partitions(self) -> Sequence[int]:
        return range(len(self._values))

    def progress(self, partition: int) -> Progress:
        return Progress(self.at[partition], None)

    def read(self, partition: int, first: int, **_bounds: int) -> list[Record]:
        self._read[partition] = not self._read[partition]
        if first >= self._last or (self._one_a_look and not self._read[partition]):
            return []
        return [Record("otlp_spans", partition, first, self._values[partition], "", 0, 1000)]


Made = list[tuple[int, int]]


@pytest.fixture
def consume(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """What is written, (partition, records) each, by `looks` looks at every partition; a write takes `write_s`."""
    clock = [0.0]
    monkeypatch.setattr(consume_module, "OpenBatch", partial(OpenBatch, clock=lambda: clock[0]))

    def run(reader: Partitions, settings: BatchSettings, *, looks: int, look_s: float = 0.01, write_s: float) -> Made:
        made: Made = []
        store = StoreInserter(lambda: pytest.fail("nothing is inserted here"), "otel")
        consumer: Any = Consumer(Signal.TRACES, reader, store, settings)  # type: ignore[arg-type]

        def write(partition: int, records: list[Record]) -> None:
            made.append((partition, len(records)))
            reader.at[partition] += len(records)
            clock[0] += write_s

        monkeypatch.setattr(consumer, "_write", write)
        for _ in range(looks):
            for partition in reader.partitions():
                consumer._advance(partition)
                clock[0] += look_s
        return made

    return run


def test_a_partition_that_was_not_looked_at_for_long_is_read_before_its_batch_is_closed(
    consume: Callable[..., Made],
) -> None:
    # Three others are written before it is seen again, which takes longer than the pause that ends a stream.
    reader = Partitions([1000] * 4, 10**6, one_a_look=True)
    made = consume(reader, BatchSettings(max_rows=10_000, busy_rows=1_000, busy_max_age_s=300), looks=40, write_s=0.5)
    assert {records for _, records in made} == {10}


def test_a_stream_that_is_over_is_written_when_its_age_is_reached(consume: Callable[..., Made]) -> None:
    assert consume(Partitions([1000], 7), BatchSettings(max_age_s=1), looks=200, write_s=0.1) == [(0, 7)]


def test_where_open_batches_hold_too_much_together_the_largest_is_written(consume: Callable[..., Made]) -> None:
    settings = BatchSettings(max_bytes=4 * MIB, max_rows=1_000_000, max_age_s=60)
    reader = Partitions([500_000, 650_000, 550_000], 10**6, one_a_look=True)
    # All but 8 MiB at the fifth look at the last of them; the second holds most, and is written when it is looked at.
    assert consume(reader, settings, looks=6, write_s=0.1) == [(1, 6)]
