"""A request whose answer was lost or late comes again: its items are in the log once, wherever that can be known."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.admission import Admission
from ingest.append import Appender
from ingest.lane import Withdrawable
from ingest.receive import Receipt, Reception
from ingest.repeats import Attempt, Repeats, digest_of
from ingest.settings import IngestSettings
from ingest.tally import Tally
from schemas.errors import LogUnavailableError
from schemas.settings import RetentionSettings
from schemas.signals import Signal
from tests.memory_log import MemoryLog
from tests.otlp_requests import NOW_NS
from tests.receivers_under_test import sample

BODY = sample(Signal.TRACES, 1)
OTHER = sample(Signal.TRACES, 2)
RECEIPT = Receipt(Signal.TRACES, 1, 0, "")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Ingest:
    """A reception in front of a log that the test holds."""

    def __init__(self, log: MemoryLog, settings: IngestSettings) -> None:
        self.log = log
        self.tally = Tally(Admission(settings))
        self.appender = Appender(log, settings, self.tally)
        self.reception = Reception(
            self.appender, settings, RetentionSettings(), self.tally, clock_ns=lambda: NOW_NS
        )  # fmt: skip
        self.pool = ThreadPoolExecutor(8)

    def send(
        self, body: bytes = BODY, tenant: str = "", client_waits: Callable[[], bool] = lambda: True
    ) -> Future[Receipt]:
        return self.pool.submit(self.reception.receive, Signal.TRACES, "grpc", tenant, body, client_waits)

    def hold(self) -> None:
        """Let the next append begin, and not end."""
        self.log.gate.clear()
        self.log.entered.clear()

    def late(self, **sent: Any) -> None:
        """Send, and be told that it took too long, while the append goes on."""
        self.hold()
        answer = self.send(**sent)
        assert self.log.entered.wait(10)
        with pytest.raises(LogUnavailableError, match="append_timeout_s"):
            answer.result(10)

    @property
    def repeated(self) -> int:
        return sum(self.tally.of("repeated").values())

    @property
    def values(self) -> list[bytes]:
        return [entry.value for entry in self.log.entries]


@contextmanager
def ingest(**chosen: Any) -> Iterator[Ingest]:
    settings = IngestSettings(**{"coalesce_linger_ms": 0, "append_timeout_s": 1.0, **chosen})
    made = Ingest(MemoryLog(), settings)
    try:
        yield made
    finally:
        made.log.gate.set()
        made.appender.close()
        made.pool.shutdown()


def test_what_comes_again_while_the_append_goes_on_waits_for_it() -> None:
    with ingest(append_timeout_s=5) as made:
        made.hold()
        gone = threading.Event()
        first = made.send(client_waits=lambda: not gone.is_set())
        assert made.log.entered.wait(10)
        until_watched(made)
        gone.set()
        again = made.send()
        until(lambda: made.repeated == 1)
        made.log.gate.set()
        assert again.result(10).accepted > 0
        first.result(10)
        assert made.values == [BODY]
        assert sum(made.tally.of("accepted").values()) == again.result().accepted


def test_what_was_late_and_is_in_the_log_is_acknowledged_without_being_appended() -> None:
    with ingest() as made:
        made.late()
        made.log.gate.set()
        until(lambda: made.values == [BODY])
        receipt = made.send().result(10)
        assert receipt.accepted > 0
        assert (made.values, made.repeated) == ([BODY], 1)


def test_one_lost_answer_answers_one_repetition_and_equal_bytes_after_it_are_new() -> None:
    with ingest() as made:
        made.late()
        made.log.gate.set()
        until(lambda: made.values == [BODY])
        made.send().result(10)
        made.send().result(10)
        assert (made.values, made.repeated) == ([BODY, BODY], 1)


@pytest.mark.parametrize("other", [{"body": OTHER}, {"tenant": "acme"}])
def test_other_bytes_and_other_tenants_are_new(other: dict[str, Any]) -> None:
    with ingest() as made:
        made.late()
        made.log.gate.set()
        until(lambda: made.values == [BODY])
        made.send(**other).result(10)
        assert (len(made.values), made.repeated) == (2, 0)


def test_where_the_append_failed_nobody_knows_and_the_bytes_are_appended_again() -> None:
    with ingest() as made:
        made.late()
        made.log.failure = LogUnavailableError("log: away")
        made.log.gate.set()
        until(lambda: bool(made.tally.of("errors")))
        made.log.failure = None
        made.send().result(10)
        assert (made.values, made.repeated) == ([BODY], 0)


def test_a_repetition_that_is_late_itself_leaves_the_next_one_to_be_answered() -> None:
    with ingest() as made:
        made.late()
        with pytest.raises(LogUnavailableError):
            made.send().result(10)
        made.log.gate.set()
        until(lambda: made.values == [BODY])
        made.send().result(10)
        assert (made.values, made.repeated) == ([BODY], 2)


def test_what_was_withdrawn_before_its_append_began_holds_no_bytes_and_is_appended_when_it_comes_again() -> None:
    with ingest() as made:
        made.late(body=OTHER)
        parts = [(BODY, 1)]
        withdrawn = Withdrawable(parts)
        assert withdrawn.cancel()
        assert parts == []
        made.log.gate.set()
        until(lambda: made.values == [OTHER])
        made.send().result(10)
        assert (made.values, made.repeated) == ([OTHER, BODY], 0)


def test_equal_requests_of_clients_that_wait_are_two() -> None:
    with ingest(append_timeout_s=10) as made:
        made.hold()
        first = made.send()
        assert made.log.entered.wait(10)
        until_watched(made)
        second = made.send()
        until(lambda: len(made.reception._repeats) == 2)
        made.log.gate.set()
        first.result(10)
        second.result(10)
        assert (made.values, made.repeated) == ([BODY, BODY], 0)


def test_a_queued_request_whose_client_is_gone_is_not_withdrawn_while_its_repetition_waits() -> None:
    with ingest(append_timeout_s=30) as made:
        made.hold()
        # Two appends: the first holds the log, the second waits in the queue.
        made.send(OTHER)
        assert made.log.entered.wait(10)
        first = made.reception.submit(Signal.TRACES, "grpc", "", BODY)
        made.reception.watch(first, client_waits=lambda: False)
        again = made.send()
        until(lambda: made.repeated == 1)
        made.reception.late(first)
        made.log.gate.set()
        assert again.result(20).accepted > 0
        assert made.values == [OTHER, BODY]


def test_an_answer_that_nobody_waited_for_is_given_to_who_comes_again() -> None:
    with ingest(append_timeout_s=10) as made:
        made.send(client_waits=lambda: False).result(10)
        assert made.tally.of("accepted") == {}
        made.send().result(10)
        assert (made.values, made.repeated) == ([BODY], 1)


def test_while_one_append_takes_longer_than_a_client_waits_new_requests_are_refused_at_once() -> None:
    with ingest() as made:
        made.late()
        for _ in range(20):
            with pytest.raises(LogUnavailableError, match="log: the append under way takes"):
                made.send(OTHER).result(10)
        assert made.appender.failure is not None
        made.log.gate.set()
        until(lambda: made.values == [BODY])
        made.send(OTHER).result(10)
        assert made.appender.failure is None
        assert made.values == [BODY, OTHER]


def test_a_window_of_zero_remembers_nothing_and_still_withdraws() -> None:
    with ingest(repeat_window_s=0) as made:
        made.late()
        made.log.gate.set()
        until(lambda: made.values == [BODY])
        made.send().result(10)
        assert (made.values, made.repeated) == ([BODY, BODY], 0)


def test_only_what_has_the_size_of_a_remembered_request_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[int] = []
    monkeypatch.setattr("ingest.repeats.digest_of", lambda body: hashed.append(len(body)) or digest_of(body))
    with ingest() as made:
        made.send().result(10)
        made.late()
        made.log.gate.set()
        until(lambda: made.values == [BODY, BODY])
        assert len(OTHER) != len(BODY)
        made.send(OTHER).result(10)
        assert hashed == []
        made.send().result(10)
        assert hashed == [len(BODY)]
        assert made.values == [BODY, BODY, OTHER]


def of(value: int) -> bytes:
    return bytes([value]) * (1 + value % 2)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("remember"), st.integers(0, 4)),
        st.tuples(st.just("claim"), st.integers(0, 4)),
        st.tuples(st.just("wait"), st.floats(0, 15)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 5))
def test_the_memory_keeps_its_bounds_and_gives_each_attempt_to_one_repetition(
    steps: list[tuple[str, Any]], most: int
) -> None:
    clock = Clock()
    repeats = Repeats(10, most, clock=clock)
    # The model: attempts in order of age with the time at which each is forgotten.
    kept: list[tuple[float, int, Attempt]] = []
    claimed: list[Attempt] = []
    for step, value in steps:
        if step == "wait":
            clock.now += value
            continue
        kept = [each for each in kept if each[0] > clock.now]
        if step == "remember":
            # Two of each size: a shape alone is no repetition.
            shape = (Signal.LOGS, "", 1 + value % 2)
            attempt = Attempt(shape, digest_of(of(value)), RECEIPT, Future(), client_waits=lambda: False)
            repeats.remember(attempt)
            kept = [*kept, (clock.now + 10, value, attempt)][-most:]
        else:
            found = repeats.claim(Signal.LOGS, "", of(value))
            expected = next((each for each in kept if each[1] == value), None)
            assert found is (None if expected is None else expected[2])
            if expected is not None:
                kept.remove(expected)
                claimed.append(expected[2])
        assert len(repeats) <= most
    assert len({id(attempt) for attempt in claimed}) == len(claimed)


def until(reached: Callable[[], bool]) -> None:
    for _ in range(2000):
        if reached():
            return
        threading.Event().wait(0.005)
    pytest.fail("not within 10 s")


def until_watched(made: Ingest, count: int = 1) -> None:
    until(lambda: len(made.reception._repeats) == count)
