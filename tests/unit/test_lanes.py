"""What a log that is away costs: nothing is queued for it, clients hear when it is asked again, others go on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from ingest.admission import Admission
from ingest.append import Appender
from ingest.settings import IngestSettings
from ingest.tally import Tally
from schemas.errors import LogUnavailableError, RetryableError
from schemas.log import Entry
from schemas.signals import Signal, topic
from tests.memory_log import MemoryLog

AWAY = LogUnavailableError("log: away", retry_after_s=7)


class Clock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class CountingLog(MemoryLog):
    """Counts attempts; a topic in `failing` fails, one in `stalled` waits until its event is set."""

    def __init__(self, *, independent: bool = False) -> None:
        super().__init__()
        self.independent = independent
        self.attempts = 0
        self.failing: set[str] = set()
        self.stalled: dict[str, threading.Event] = {}

    def append(self, entries: Sequence[Entry]) -> None:
        self.attempts += 1
        topics = {entry.topic for entry in entries}
        for each in topics & set(self.stalled):
            self.stalled[each].wait(20)
        if topics & self.failing:
            raise AWAY
        super().append(entries)


@contextmanager
def appending(log: MemoryLog, clock: Clock | None = None, **settings: Any) -> Iterator[Appender]:
    chosen = IngestSettings(**{"coalesce_linger_ms": 0, "circuit_failures": 3, **settings})
    appender = Appender(log, chosen, Tally(Admission(chosen)), clock=clock or Clock())
    try:
        yield appender
    finally:
        log.gate.set()
        appender.close()


def fail(appender: Appender, times: int, signal: Signal = Signal.TRACES) -> None:
    for _ in range(times):
        with pytest.raises(LogUnavailableError, match="log: away"):
            appender.submit(signal, "", b"x", 1, 0).result(10)


def test_after_some_failures_in_a_row_requests_are_refused_without_asking_the_log() -> None:
    log, clock = CountingLog(), Clock()
    log.failure = AWAY
    with appending(log, clock) as appender:
        fail(appender, 3)
        attempts = log.attempts
        for _ in range(50):
            with pytest.raises(LogUnavailableError, match=r"circuit: .* after: log: away") as refused:
                appender.submit(Signal.LOGS, "", b"x", 1, 0)
        clock.now += 0.25
        with pytest.raises(LogUnavailableError) as later:
            appender.submit(Signal.LOGS, "", b"x", 1, 0)
    assert log.attempts == attempts
    assert (refused.value.retry_after_s, later.value.retry_after_s) == (1.0, 0.75)


def test_at_the_promised_time_one_request_tries_and_its_success_lets_all_others_in() -> None:
    log, clock = CountingLog(), Clock()
    log.failure = AWAY
    with appending(log, clock) as appender:
        fail(appender, 3)
        clock.now += 1.0
        log.failure = None
        log.gate.clear()
        log.entered.clear()
        probe = appender.submit(Signal.TRACES, "", b"probe", 1, 0)
        assert log.entered.wait(10)
        with pytest.raises(LogUnavailableError, match="circuit"):
            appender.submit(Signal.TRACES, "", b"too early", 1, 0)
        log.gate.set()
        probe.result(10)
        appender.submit(Signal.TRACES, "", b"after", 1, 0).result(10)
        assert appender.failure is None
    assert [entry.value for entry in log.entries] == [b"probe", b"after"]


def test_a_probe_that_fails_doubles_the_time() -> None:
    log, clock = CountingLog(), Clock()
    log.failure = AWAY
    with appending(log, clock) as appender:
        fail(appender, 3)
        clock.now += 1.0
        fail(appender, 1)
        with pytest.raises(LogUnavailableError) as refused:
            appender.submit(Signal.TRACES, "", b"x", 1, 0)
    assert refused.value.retry_after_s == 2.0


def test_what_was_queued_before_the_circuit_opened_is_not_sent_to_a_log_that_is_away() -> None:
    log = CountingLog()
    with appending(log, circuit_failures=1) as appender:
        log.gate.clear()
        first = appender.submit(Signal.TRACES, "", b"first", 1, 0)
        assert log.entered.wait(10)
        queued = [appender.submit(Signal.TRACES, str(number), b"x", 1, 0) for number in range(5)]
        log.failure = AWAY
        log.gate.set()
        with pytest.raises(LogUnavailableError, match="log: away"):
            first.result(10)
        for future in queued:
            with pytest.raises(LogUnavailableError, match="circuit"):
                future.result(10)
    assert log.attempts == 1


def test_a_probe_that_its_client_withdrew_leaves_the_next_one_to_try() -> None:
    log, clock = CountingLog(), Clock()
    with appending(log, clock, circuit_failures=1) as appender:
        log.failure = AWAY
        fail(appender, 1)
        clock.now += 1.0
        log.failure = None
        withdrawn = appender.submit(Signal.TRACES, "", b"withdrawn", 1, 0)
        if withdrawn.cancel():
            for _ in range(1000):
                try:
                    appender.submit(Signal.TRACES, "", b"next", 1, 0).result(10)
                    break
                except LogUnavailableError:
                    threading.Event().wait(0.005)
            else:
                pytest.fail("nobody may try")
            assert [entry.value for entry in log.entries] == [b"next"]


def test_where_topics_are_independent_one_that_fails_or_stalls_holds_up_no_other() -> None:
    log = CountingLog(independent=True)
    log.failing = {topic(Signal.LOGS)}
    log.stalled = {topic(Signal.METRICS): threading.Event()}
    with appending(log) as appender:
        stalled = appender.submit(Signal.METRICS, "", b"points", 1, 0)
        fail(appender, 3, Signal.LOGS)
        with pytest.raises(LogUnavailableError, match="circuit"):
            appender.submit(Signal.LOGS, "", b"x", 1, 0)
        for _ in range(10):
            appender.submit(Signal.TRACES, "", b"span", 1, 0).result(10)
        assert not stalled.done()
        log.stalled[topic(Signal.METRICS)].set()
        stalled.result(10)
    assert {entry.topic for entry in log.entries} == {topic(Signal.TRACES), topic(Signal.METRICS)}


def test_one_signal_that_fails_does_not_make_the_process_unready_but_all_that_fail_do() -> None:
    log, clock = CountingLog(independent=True), Clock()
    log.failing = {topic(Signal.LOGS)}
    with appending(log, clock) as appender:
        fail(appender, 1, Signal.LOGS)
        assert appender.failure == "log: away"
        clock.now += 1
        appender.submit(Signal.TRACES, "", b"span", 1, 0).result(10)
        assert appender.failure is None
        clock.now += 1
        log.failing.add(topic(Signal.TRACES))
        fail(appender, 1, Signal.TRACES)
        assert appender.failure == "log: away"


def test_a_failure_that_nobody_has_looked_at_for_long_does_not_keep_clients_away() -> None:
    log, clock = CountingLog(), Clock()
    with appending(log, clock, circuit_open_max_s=10) as appender:
        log.failure = AWAY
        fail(appender, 1)
        clock.now += 19
        assert appender.failure == "log: away"
        clock.now += 1
        assert appender.failure is None


def test_a_small_request_is_not_committed_behind_all_that_another_tenant_queued() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        log.gate.clear()
        first = appender.submit(Signal.LOGS, "first", b"first", 1, 0)
        assert log.entered.wait(10)
        large = bytes(4 << 20)
        flood = [appender.submit(Signal.LOGS, "flood", large, 1, 0) for _ in range(24)]
        calm = appender.submit(Signal.LOGS, "calm", b"calm", 1, 0)
        log.gate.set()
        for future in (first, calm, *flood):
            future.result(30)
    second = [entry.tenant for entry in log.commits[1]]
    assert "calm" in second
    assert "flood" in second
    assert sum(entry.tenant == "flood" for entry in log.entries) == 24


def test_close_appends_what_is_queued_be_it_more_than_one_commit() -> None:
    log = MemoryLog()
    with appending(log) as appender:
        log.gate.clear()
        appender.submit(Signal.LOGS, "", b"first", 1, 0)
        assert log.entered.wait(10)
        queued = [appender.submit(Signal.LOGS, str(n % 3), bytes(4 << 20), 1, 0) for n in range(30)]
        closing = threading.Thread(target=appender.close)
        closing.start()
        log.gate.set()
        closing.join(60)
        for future in queued:
            future.result(0)
        with pytest.raises(RetryableError, match="stopping"):
            appender.submit(Signal.TRACES, "", b"late", 1, 0)
    assert len(log.commits) > 3
