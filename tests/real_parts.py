"""What a test does where a real part cannot be had: say what to install, and never stay silent in CI."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.testbed.parts import MissingPartError


@contextmanager
def skip_where_missing() -> Iterator[None]:
    """Skip the test for a part that this machine cannot have; with CI set, fail it: nothing is left out there."""
    try:
        yield
    except MissingPartError as missing:
        if os.environ.get("CI"):
            pytest.fail(f"CI leaves no test out: {missing}", pytrace=False)
        pytest.skip(str(missing))
