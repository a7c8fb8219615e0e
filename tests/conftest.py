"""Fixtures that several test files share. Servers listen on free ports of 127.0.0.1 only."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Playwright, sync_playwright

from schemas.settings import StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.kafka_broker import fresh_name, require_broker
from tests.rows_in_store import Database, database
from tests.testbed.kafka_broker import Broker
from tests.testbed.parts import free_ports


def free_port() -> int:
    """A port that was free a moment ago."""
    return free_ports(1)[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of single folders; pytest reads them from here only."""
    parser.addoption("--update-golden", action="store_true", help="write the golden files of tests/golden again")
    parser.addoption("--screenshots", metavar="DIR", help="run a longer demo and write the README's pictures into DIR")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests last: the browser's driver keeps an event loop running in this thread until the session ends."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(scope="session")
def playwright_() -> Iterator[Playwright]:
    """Playwright's driver, without browsers of its own. One a session: a second in the same thread refuses to start."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedStore]:
    """A running store with an empty database `otel`, shared by the whole session: use table names of your own."""
    folder: Path = tmp_path_factory.mktemp("store")
    with EmbeddedStore(folder, StoreSettings(http_port=free_port())) as running:
        yield running


@pytest.fixture
def tables(store: EmbeddedStore) -> Iterator[Database]:
    """A database of the test's own with all our tables and views, empty."""
    with database(store, fresh_name("tables").replace("-", "_")) as made:
        yield made


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker, shared by the whole session: use topics and groups of your own, and leave it running."""
    require_broker()
    with Broker(tmp_path_factory.mktemp("kafka")) as running:
        yield running
