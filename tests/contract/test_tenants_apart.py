"""One tenant or signal that floods, over either transport: it is pushed back with a true hint, others are served."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from ingest.settings import TenantLimit
from schemas.log import Entry
from schemas.signals import Signal, topic
from tests.memory_log import MemoryLog
from tests.receivers_under_test import Answered, Served, sample, serving

REFUSED = (grpc.StatusCode.RESOURCE_EXHAUSTED, 429)
OK = (grpc.StatusCode.OK, 200)


def send(served: Served, transport: str, tenant: str, signal: Signal = Signal.LOGS) -> Answered:
    body = sample(signal)
    if transport == "grpc":
        return served.export(signal, body, x_tenant_id=tenant)
    return served.post(signal, body, **{"x-tenant-id": tenant})


def until(condition: Callable[[], Any]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@contextmanager
def flooded(served: Served, log: MemoryLog, tenant: str, signal: Signal, count: int) -> Iterator[list[Answered]]:
    """`count` requests of one tenant wait for a log that stands still."""
    log.gate.clear()
    answers: list[Answered] = []
    threads = [
        threading.Thread(target=lambda: answers.append(send(served, "http", tenant, signal))) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    until(lambda: served.receivers.tally.admission.requests == count)
    yield answers
    log.gate.set()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("transport", ["grpc", "http"])
@pytest.mark.parametrize("floods", ["tenant", "signal"])
def test_what_floods_is_refused_while_others_are_served(transport: str, floods: str) -> None:
    log = MemoryLog()
    with serving(log, max_concurrent_requests=16, **{f"max_{floods}_share": 0.75}, retry_after_s=2.5) as served:
        others: list[Answered] = []
        with flooded(served, log, "flood", Signal.LOGS, 12) as answers:
            refused = send(served, transport, "flood" if floods == "tenant" else "another", Signal.LOGS)
            calm = threading.Thread(target=lambda: others.append(send(served, transport, "calm", Signal.TRACES)))
            calm.start()
            until(lambda: served.receivers.tally.admission.requests == 13)
        calm.join()
        counts = served.receivers.tally.of("refused")
    assert (refused.status in REFUSED, refused.retry_delay_s) == (True, 2.5)
    assert [answer.status for answer in (*answers, *others)] == [200] * 12 + [OK[transport == "http"]]
    labels = (("signal", Signal.LOGS), ("transport", transport), ("reason", f"{floods} share"))
    assert counts == {labels: 1}


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_tenant_over_its_rate_is_told_when_it_may_send_again_and_no_other_is(transport: str) -> None:
    size_bytes = len(sample(Signal.LOGS))
    limit = TenantLimit(bytes_per_s=size_bytes / 600)
    with serving(tenant_limits={"limited": limit}, tenant_burst_s=0) as served:
        first = send(served, transport, "limited")
        second = send(served, transport, "limited")
        others = [send(served, transport, tenant) for tenant in ("calm", "", "calm")]
        counts = served.receivers.tally.of("refused")
        items = served.receivers.tally.of("accepted")[("signal", Signal.LOGS),]
        kept = sum(entry.items for entry in served.log.entries)
    assert first.status in OK
    assert second.status in REFUSED
    assert second.retry_delay_s == pytest.approx(600, abs=60)
    if transport == "http":
        assert 540 <= int(second.headers["retry-after"]) <= 600
    assert all(answer.status in OK for answer in others)
    labels = (("signal", Signal.LOGS), ("transport", transport), ("reason", "tenant rate"))
    assert counts == {labels: 1}
    assert items == kept


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_tenant_that_waits_as_long_as_it_was_told_loses_nothing(transport: str) -> None:
    size_bytes = len(sample(Signal.LOGS))
    with serving(tenant_bytes_per_s=size_bytes * 20, tenant_burst_s=0) as served:
        sent = 0
        refusals = 0
        while sent < 10:
            answer = send(served, transport, "acme")
            if answer.status in OK:
                sent += 1
            else:
                assert answer.retry_delay_s is not None
                refusals += 1
                time.sleep(answer.retry_delay_s)
        kept = [entry.tenant for entry in served.log.entries]
    assert kept == ["acme"] * 10
    # Each wait ends in an accepted request: nobody is sent away twice for the same debt.
    assert refusals <= 10


class StallingLog(MemoryLog):
    """A log of independent topics, of which that of logs stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.independent = True
        self.stall = threading.Event()

    def append(self, entries: Sequence[Entry]) -> None:
        if entries[0].topic == topic(Signal.LOGS):
            self.stall.wait(30)
        super().append(entries)


@pytest.mark.parametrize("transport", ["grpc", "http"])
def test_a_topic_that_stalls_holds_no_thread_of_another_signal(transport: str) -> None:
    log = StallingLog()
    with serving(log, grpc_threads=2, http_threads=1) as served:
        stalled: list[Answered] = []
        threads = [
            threading.Thread(target=lambda: stalled.append(send(served, transport, "", Signal.LOGS))) for _ in range(6)
        ]
        for thread in threads:
            thread.start()
        until(lambda: served.receivers.tally.admission.requests == 6)
        answers = [send(served, transport, "", Signal.TRACES) for _ in range(5)]
        assert stalled == []
        log.stall.set()
        for thread in threads:
            thread.join()
    assert all(answer.status in OK for answer in (*answers, *stalled))
