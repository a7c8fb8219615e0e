"""One store that everybody attacks, with rows of ours to read and rows of others that nobody may see."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.reader.attacked_store import AttackedStore, attacked


@pytest.fixture(scope="session")
def attacked_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AttackedStore]:
    """Shared by all tests of this folder: whoever writes to it says so in its name."""
    with attacked(tmp_path_factory.mktemp("attacked")) as running:
        yield running
