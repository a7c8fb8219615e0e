"""Batches are cut where the store's memory would end, always in the same places."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest

from processors import blocks


def rows(*bucket_counts: int) -> pa.RecordBatch:
    lists = pa.array([[0] * count for count in bucket_counts], pa.list_(pa.uint64()))
    return pa.RecordBatch.from_arrays([lists], ["PositiveBucketCounts"])


def cut(*bucket_counts: int) -> list[tuple[int, int]]:
    return blocks.block_ranges("otel_metrics_exponential_histogram", rows(*bucket_counts))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "_MOST_ROWS", {"otel_metrics_exponential_histogram": 4})
    monkeypatch.setattr(blocks, "_MOST_BUCKETS", 10)


def test_no_rows_are_no_block() -> None:
    assert cut() == []


def test_rows_without_buckets_are_cut_by_their_number() -> None:
    assert cut(*[0] * 9) == [(0, 4), (4, 8), (8, 9)]


def test_a_block_ends_before_the_row_that_would_be_too_much() -> None:
    assert cut(5, 5, 1, 9, 0, 1) == [(0, 2), (2, 5), (5, 6)]


def test_a_row_that_is_too_large_by_itself_is_a_block_of_its_own() -> None:
    assert cut(1, 50, 1, 50) == [(0, 1), (1, 2), (2, 3), (3, 4)]


def test_a_slice_is_cut_like_a_batch_of_its_own() -> None:
    whole = rows(3, 9, 2, 9, 9)
    assert blocks.block_ranges("otel_metrics_exponential_histogram", whole.slice(1)) == [(0, 1), (1, 2), (2, 3), (3, 4)]


@pytest.mark.parametrize("table", ["otel_traces", "otel_metrics_sum"])
def test_blocks_follow_each_other_without_gaps(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "ONE_BLOCK_ROWS", 7)
    batch = pa.RecordBatch.from_arrays([pa.array(range(100))], ["Value"])
    ranges = blocks.block_ranges(table, batch)
    assert (ranges[0][0], ranges[-1][1]) == (0, 100)
    assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert max(end - first for first, end in ranges) == 7
