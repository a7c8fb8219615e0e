"""The real Collector as tests ask for it: skipped with a reason where it cannot be had, never in CI."""

from __future__ import annotations

from tests.real_parts import skip_where_missing
from tests.testbed import collector


def require_collector() -> None:
    """Skip the test where the binary is not there and Go is missing; fail it in CI."""
    with skip_where_missing():
        collector.binary()
