"""Who is woken by an append."""

from __future__ import annotations

import threading
import time

from schemas.sqlite_shared import SharedLog

_PATIENCE_S = 0.3


def _waiting(log: SharedLog, topic: str, timeout_s: float) -> tuple[threading.Thread, list[tuple[bool, float]]]:
    answers: list[tuple[bool, float]] = []

    def wait() -> None:
        started_s = time.monotonic()
        answers.append((log.wait(topic, log.version(topic), timeout_s), time.monotonic() - started_s))

    thread = threading.Thread(target=wait)
    thread.start()
    while topic not in log._news or not log._news[topic]._waiters:  # type: ignore[attr-defined]
        time.sleep(0.001)
    return thread, answers


def test_an_append_wakes_the_readers_of_its_topic() -> None:
    log = SharedLog()
    thread, answers = _waiting(log, "spans", 60)
    log.announce({"spans"})
    thread.join(10)
    assert answers
    assert answers[0][0]


def test_an_append_wakes_no_reader_of_another_topic() -> None:
    log = SharedLog()
    thread, answers = _waiting(log, "logs", _PATIENCE_S)
    for _ in range(3):
        log.announce({"spans"})
    thread.join(10)
    found, waited_s = answers[0]
    assert not found
    assert waited_s >= _PATIENCE_S


def test_all_are_woken_to_look_at_their_own_state() -> None:
    log = SharedLog()
    thread, answers = _waiting(log, "logs", 60)
    log.wake_all()
    thread.join(10)
    assert not answers[0][0]
