"""A store that is down, slow, refuses, or cuts off after the commit: ingest goes on, every row is there once."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.cluster import Deployment, Recoveries, deployment
from tests.faults.conftest import Engines
from tests.faults.cutting_proxy import CuttingProxy
from tests.faults.proof import wait_until

# A start compiles the decoder where nobody has, and machines are busy.
pytestmark = pytest.mark.timeout(900)

# How many inserts of all processors meet each fault: more than it takes to open every circuit.
_INSERTS = 16

_IMPATIENT = {"BATCH__RETRY_MAX_S": "0.5", "BATCH__CIRCUIT_OPEN_MAX_S": "0.5", "BATCH__CIRCUIT_OPEN_S": "0.2"}

# What a ClickHouse server answers, by HTTP status and code.
_REFUSALS = {
    "too many parts": ("500 Internal Server Error", 252, "Too many parts (3001). (TOO_MANY_PARTS)"),
    "wrong password, 401": ("401 Unauthorized", 516, "pipeline: Authentication failed. (AUTHENTICATION_FAILED)"),
    "wrong password, 403": ("403 Forbidden", 516, "pipeline: Authentication failed. (AUTHENTICATION_FAILED)"),
    "read-only": ("500 Internal Server Error", 164, "Cannot execute query in readonly mode. (READONLY)"),
    "out of memory": ("500 Internal Server Error", 241, "Memory limit (total) exceeded. (MEMORY_LIMIT_EXCEEDED)"),
    "a proxy's own 503": ("503 Service Unavailable", 0, "upstream connect error"),
}

# Much like others: left out of the short form.
_LONG_ONLY = {"wrong password, 403", "out of memory", "a proxy's own 503", "cut within the body"}


def refusal(proxy: CuttingProxy, status: str, code: int, text: str) -> None:
    header = f"X-ClickHouse-Exception-Code: {code}\r\n" if code else ""
    proxy.answer(status, header, f"Code: {code}. DB::Exception: {text}" if code else text, count=_INSERTS)


def faults(proxy: CuttingProxy) -> dict[str, Callable[[], None]]:
    """What is armed, by name."""
    return {
        **{name: (lambda answer=answer: refusal(proxy, *answer)) for name, answer in _REFUSALS.items()},
        "slow": lambda: proxy.delay_answers(1.5, count=6),
        "cut after the commit": lambda: proxy.cut_answers(_INSERTS),
        "cut within the body": lambda: proxy.cut_requests(_INSERTS, after_bytes=600),
    }


def break_store(folder: Path, engines: Engines, rounds: int) -> None:
    proxy = engines.proxy
    recoveries: dict[str, Recoveries] = {}
    armed = faults(proxy)
    if rounds == 1:
        armed = {name: arm for name, arm in armed.items() if name not in _LONG_ONLY}
    with deployment(
        folder / "sluiceway", engines.broker.bootstrap, engines.store, store_url=proxy.url, settings=_IMPATIENT
    ) as running:
        running.start()
        running.load()
        running.recovered()
        for _ in range(rounds):
            for name, arm in armed.items():
                arm()
                # Clients notice nothing, while inserts fail.
                running.await_acks(f"acknowledgements with a store that is: {name}")
                wait_until(lambda: not proxy.armed, f"inserts to meet: {name}")
                recoveries.setdefault(name, Recoveries()).append(running.recovered())
            recoveries.setdefault("down", Recoveries()).append(take_away(running, proxy))
        dropped = len(proxy.dropped)
        refused = running.refused()
        proof = running.prove()
    print(f"\n{rounds} rounds; items: {proof}; {dropped} answers of committed inserts dropped; after each:")
    for name, measured in recoveries.items():
        print(f"    {name}: {measured}")
    assert dropped >= rounds * _INSERTS
    assert refused == 0
    assert proof.wrong == []
    assert proof.acked > 0


def take_away(running: Deployment, proxy: CuttingProxy) -> tuple[float, float]:
    """Refuse every connection until each processor says that it cannot store; what `recovered` measures afterwards."""
    proxy.refuse()
    for member in running.processors:
        wait_until(lambda m=member: "store" in m.get("/readyz")[1], "a processor to say that the store is away")
    running.await_acks("acknowledgements without a store")
    time.sleep(2)
    proxy.allow()
    return running.recovered()


@pytest.mark.slow
def test_a_store_that_fails_in_every_way_is_written_to_once(engines: Engines, tmp_path: Path) -> None:
    break_store(tmp_path, engines, 1)


@pytest.mark.long
@pytest.mark.timeout(0)
def test_a_store_that_fails_in_every_way_ten_times_is_written_to_once(engines: Engines, tmp_path: Path) -> None:
    break_store(tmp_path, engines, 10)
