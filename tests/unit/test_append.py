"""Group commit: who is acknowledged when, how requests become records, and what a failing log does to whom."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import pytest

from ingest.admission import Admission
from ingest.append import Appender
from ingest.settings import IngestSettings
from ingest.tally import Tally
from ingest.validate import validate
from schemas.errors import LogUnavailableError, RetryableError, TooLargeError
from schemas.log import Entry
from schemas.signals import Signal
from tests.memory_log import MemoryLog
from tests.otlp_requests import WINDOW
from tests.receivers_under_test import sample


@contextmanager
def appending(log: MemoryLog, **settings: Any) -> Iterator[Appender]:
    chosen = IngestSettings(**{"coalesce_linger_ms": 0, **settings})
    appender = Appender(log, chosen, Tally(Admission(chosen)), clock_ns=lambda: 5)
    try:
        yield appender
    finally:
        log.gate.set()
        appender.close()


@contextmanager
def held(log: MemoryLog, appender: Appender) -> Iterator[Future[None]]:
    """Queue what the test submits behind a commit that is held at the log."""
    log.gate.clear()
    log.entered.clear()
    first = appender.submit(Signal.LOGS, "first", b"first", 1, 0)
    assert log.entered.wait(10)
    yield first
    log.gate.set()


def test_a_request_is_acknowledged_only_after_its_commit() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        with held(log, appender) as first:
            assert not first.done()
            assert log.commits == []
        first.result(10)
    assert log.entries == [Entry("otlp_logs", b"first", "first", 5, 1, 0)]


def test_all_that_queued_during_a_commit_goes_into_the_next_one() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        with held(log, appender):
            futures = [appender.submit(Signal.TRACES, str(tenant), b"x", 1, 0) for tenant in range(20)]
        for future in futures:
            future.result(10)
    assert [len(commit) for commit in log.commits] == [1, 20]


def test_requests_of_one_signal_and_tenant_become_one_record_and_their_counts_are_summed() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        with held(log, appender):
            appender.submit(Signal.TRACES, "a", b"one", 1, 2)
            appender.submit(Signal.TRACES, "b", b"other", 7, 0)
            appender.submit(Signal.METRICS, "a", b"points", 9, 0)
            last = appender.submit(Signal.TRACES, "a", b"two", 3, 4)
        last.result(10)
    assert sorted(log.commits[1], key=lambda entry: (entry.topic, entry.tenant)) == [
        Entry("otlp_metrics", b"points", "a", 5, 9, 0),
        Entry("otlp_spans", b"onetwo", "a", 5, 4, 6),
        Entry("otlp_spans", b"other", "b", 5, 7, 0),
    ]


def test_a_record_is_coalesced_up_to_its_size_and_no_further() -> None:
    log = MemoryLog()
    with appending(log, coalesce_bytes=1024) as appender:
        with held(log, appender):
            futures = [appender.submit(Signal.TRACES, "", b"x" * 400, 1, 0) for _ in range(5)]
        for future in futures:
            future.result(10)
    assert [(len(entry.value), entry.items) for entry in log.commits[1]] == [(800, 2), (800, 2), (400, 1)]


def test_a_record_is_coalesced_up_to_its_items_and_no_further() -> None:
    log = MemoryLog()
    with appending(log, max_request_items=1000) as appender:
        with held(log, appender):
            futures = [appender.submit(Signal.TRACES, "", b"x", 400, 0) for _ in range(5)]
        for future in futures:
            future.result(10)
    assert [(len(entry.value), entry.items) for entry in log.commits[1]] == [(2, 800), (2, 800), (1, 400)]


def test_a_lone_small_request_waits_no_longer_than_the_linger() -> None:
    log = MemoryLog()
    with appending(log, coalesce_linger_ms=5) as appender:
        appender.submit(Signal.TRACES, "", b"x", 1, 0).result(10)
    assert [entry.value for entry in log.entries] == [b"x"]


def test_a_large_request_is_split_into_records_of_one_commit() -> None:
    body = b"".join(sample(Signal.LOGS, seed) for seed in range(60))
    items = validate(Signal.LOGS, body, **WINDOW).items
    bound = len(body) // 3
    log = MemoryLog(max_record_bytes=bound)
    with appending(log) as appender:
        appender.submit(Signal.LOGS, "t", body, items, 3).result(10)
    assert len(log.commits) == 1
    assert len(log.entries) > 2
    assert max(len(entry.value) for entry in log.entries) <= bound
    assert sum(entry.items for entry in log.entries) == items
    assert [entry.rejected for entry in log.entries] == [3] + [0] * (len(log.entries) - 1)


def test_an_item_over_the_record_bound_is_refused_before_it_is_queued() -> None:
    body = sample(Signal.LOGS)
    with appending(MemoryLog(max_record_bytes=4)) as appender, pytest.raises(TooLargeError):
        appender.submit(Signal.LOGS, "", body, 1, 0)


def test_a_log_that_is_away_fails_every_request_of_its_commit_and_takes_the_next() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        with held(log, appender) as first:
            futures = [first, *(appender.submit(Signal.TRACES, "", b"x", 1, 0) for _ in range(3))]
            log.failure = LogUnavailableError("log: disk full", retry_after_s=7)
        for future in futures:
            with pytest.raises(LogUnavailableError, match="disk full"):
                future.result(10)
        assert appender.failure == "log: disk full"
        log.failure = None
        appender.submit(Signal.TRACES, "", b"y", 1, 0).result(10)
        assert appender.failure is None
    assert [entry.value for entry in log.entries] == [b"y"]


def test_an_undocumented_failure_of_the_log_is_retryable(caplog: pytest.LogCaptureFixture) -> None:
    log = MemoryLog()
    log.failure = OSError("disk I/O error")
    with appending(log) as appender, pytest.raises(LogUnavailableError):
        appender.submit(Signal.TRACES, "", b"x", 1, 0).result(10)
    assert "does not document" in caplog.text


class PickyLog(MemoryLog):
    """Refuses one value for good."""

    def append(self, entries: Any) -> None:
        if any(b"bad" in entry.value for entry in entries):
            raise TooLargeError("record: too large")
        super().append(entries)


def test_a_request_that_the_log_never_takes_does_not_cost_its_neighbours_their_acknowledgement() -> None:
    log = PickyLog()
    with appending(log) as appender:
        with held(log, appender):
            good = appender.submit(Signal.TRACES, "", b"good", 1, 0)
            bad = appender.submit(Signal.TRACES, "", b"bad", 1, 0)
            fine = appender.submit(Signal.TRACES, "", b"fine", 1, 0)
        good.result(10)
        fine.result(10)
        with pytest.raises(TooLargeError):
            bad.result(10)
    assert [entry.value for entry in log.entries] == [b"first", b"good", b"fine"]


class LoweredLog(MemoryLog):
    """Learns after the first commit that records must be smaller."""

    def append(self, entries: Sequence[Entry]) -> None:
        if any(len(entry.value) > self._max_record_bytes for entry in entries):
            raise TooLargeError("record: too large")
        super().append(entries)
        self._max_record_bytes = 10


def test_a_request_that_was_split_by_a_bound_lowered_since_is_pushed_back_and_not_refused() -> None:
    log = LoweredLog()
    with appending(log) as appender:
        with held(log, appender):
            split_before = appender.submit(Signal.TRACES, "", b"x" * 20, 1, 0)
            small = appender.submit(Signal.TRACES, "", b"small", 1, 0)
        small.result(10)
        with pytest.raises(LogUnavailableError, match="at most 10 bytes now"):
            split_before.result(10)


def test_a_withdrawn_request_is_not_appended() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        with held(log, appender):
            withdrawn = appender.submit(Signal.TRACES, "", b"withdrawn", 1, 0)
            kept = appender.submit(Signal.TRACES, "", b"kept", 1, 0)
            assert withdrawn.cancel()
        kept.result(10)
    assert [entry.value for entry in log.entries] == [b"first", b"kept"]


def test_close_appends_what_is_queued_and_refuses_what_comes_after() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        with held(log, appender):
            queued = appender.submit(Signal.TRACES, "", b"queued", 1, 0)
            closing = threading.Thread(target=appender.close)
            closing.start()
        closing.join(10)
        queued.result(0)
        with pytest.raises(RetryableError, match="stopping"):
            appender.submit(Signal.TRACES, "", b"late", 1, 0)


def test_many_threads_lose_nothing() -> None:
    log = MemoryLog()

    def submit(worker: int) -> None:
        for number in range(200):
            appender.submit(Signal.TRACES, "", f"{worker}-{number};".encode(), 1, 0).result(10)

    with appending(log) as appender:
        workers = [threading.Thread(target=submit, args=(worker,)) for worker in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    appended = b"".join(entry.value for entry in log.entries).split(b";")[:-1]
    assert sorted(appended) == sorted(f"{worker}-{number}".encode() for worker in range(8) for number in range(200))
    assert sum(entry.items for entry in log.entries) == 1600


def test_a_large_request_is_a_record_of_its_own_between_those_that_are_joined() -> None:
    log = MemoryLog()
    log.joined_below_bytes = 1000
    bodies = [b"a", b"b", b"L" * 1000, b"c", b"M" * 2000, b"N" * 3000, b"d", b"e"]
    with appending(log) as appender:
        with held(log, appender):
            futures = [appender.submit(Signal.TRACES, "", body, 1, 0) for body in bodies]
        for future in futures:
            future.result(10)
    records = log.commits[1]
    assert [record.value for record in records] == [b"ab", b"L" * 1000, b"c", b"M" * 2000, b"N" * 3000, b"de"]
    assert [record.items for record in records] == [2, 1, 1, 1, 1, 2]
