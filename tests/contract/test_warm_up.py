"""After warming up nothing is left to compile, and what was compiled serves other processes from the cache on disk."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.compiled_variants import batches

# Every module is imported, kafka-python among them; pyproject.toml says what it warns of.
_WARNINGS = ["error", *(f"ignore:{name} is deprecated:DeprecationWarning" for name in ("read_text", "open_text"))]


def fresh_process() -> dict[str, Any]:
    options = [part for warning in _WARNINGS for part in ("-W", warning)]
    run = subprocess.run(
        [sys.executable, *options, "-m", "tests.compiled_variants"], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(run.stdout)
    return found


@pytest.fixture(scope="module")
def filled() -> dict[str, Any]:
    """A process that compiles what the cache lacks."""
    return fresh_process()


def test_batches_of_every_kind_compile_nothing_that_warming_up_did_not(filled: dict[str, Any]) -> None:
    assert filled["after_batches"] == filled["after_warm_up"]
    assert sum(filled["after_warm_up"].values()) >= 15


def test_a_fresh_process_compiles_nothing_and_makes_the_same_bytes(filled: dict[str, Any]) -> None:
    second = fresh_process()
    assert second["misses"] == 0
    assert second["digest"] == filled["digest"] == batches().hexdigest()
