"""When an open batch is closed, and that nothing beyond its bounds is taken or skipped."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from processors.batch import OpenBatch
from processors.settings import BatchSettings
from schemas.log import Record


class FakeClock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def record(offset: int, *, items: int | None = 1, size_bytes: int = 1) -> Record:
    return Record("otlp_spans", 0, offset, b"x" * size_bytes, "", 0, items)


def batch(clock: FakeClock | None = None, **limits: float) -> OpenBatch:
    return OpenBatch(0, BatchSettings(**limits), clock or FakeClock())  # type: ignore[arg-type]


def test_rows_close_a_batch() -> None:
    opened = batch(max_rows=10)
    opened.take([record(0, items=9)])
    assert not opened.is_full
    opened.take([record(1, items=1), record(2)])
    assert opened.is_full
    assert (len(opened.records), opened.position) == (2, 2)


def test_bytes_close_a_batch_even_if_nobody_counted_its_items() -> None:
    opened = batch(max_bytes=1024 * 1024)
    opened.take([record(0, items=None, size_bytes=1024 * 1024)])
    assert opened.is_full


def test_age_is_counted_from_the_first_record() -> None:
    clock = FakeClock()
    opened = batch(clock, max_age_s=2)
    clock.now_s = 100
    assert opened.left_s == 2
    opened.take([record(0)])
    clock.now_s = 101.5
    opened.take([record(1)])
    assert opened.left_s == 0.5
    clock.now_s = 200
    assert opened.left_s == 0


def test_a_busy_batch_may_grow_older_while_more_keeps_coming() -> None:
    clock = FakeClock()
    opened = batch(clock, max_age_s=1, busy_rows=100, busy_max_age_s=5)
    opened.take([record(0, items=99)])
    clock.now_s = 1.5
    assert opened.left_s == 0
    opened.take([record(1, items=1)])
    assert opened.left_s == pytest.approx(0.3)
    clock.now_s = 4.9
    opened.take([record(2)])
    assert opened.left_s == pytest.approx(0.1)
    clock.now_s = 5
    assert opened.left_s == 0


@given(st.lists(st.integers(0, 40), max_size=60), st.integers(1, 100))
def test_taking_in_any_portions_skips_and_repeats_nothing(items: list[int], max_rows: int) -> None:
    log = [record(offset * 3, items=count) for offset, count in enumerate(items)]
    taken: list[Record] = []
    position = 0
    while True:
        opened = OpenBatch(position, BatchSettings(max_rows=max_rows))
        while not opened.is_full:
            found = [each for each in log if each.offset >= opened.position][:2]
            if not found:
                break
            opened.take(found)
        if not opened.records:
            break
        assert sum(each.items or 0 for each in opened.records[:-1]) < max_rows
        taken += opened.records
        position = opened.position
    assert taken == log
