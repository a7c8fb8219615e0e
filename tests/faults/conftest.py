"""Fixtures of the tests that break the pipeline on Kafka."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.faults.cutting_proxy import CuttingProxy, cutting_proxy
from tests.kafka_broker import require_broker
from tests.remote_store import RemoteStore
from tests.testbed.kafka_broker import Broker


@dataclass(frozen=True)
class Engines:
    """A broker and a store to be broken, and a proxy in front of the store. Tests leave them whole."""

    broker: Broker
    store: RemoteStore
    proxy: CuttingProxy


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Shared by the tests of one file, for a start takes seconds."""
    require_broker()
    folder = tmp_path_factory.mktemp("engines")
    broker, store = Broker(folder / "kafka"), RemoteStore(folder / "store")
    try:
        with ThreadPoolExecutor(2) as threads:
            for started in [threads.submit(broker.start), threads.submit(store.start)]:
                started.result()
        with cutting_proxy("127.0.0.1", store.port) as proxy:
            yield Engines(broker, store, proxy)
    finally:
        broker.kill()
        store.stop()
