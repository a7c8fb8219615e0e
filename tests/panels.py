"""Panels as a dashboard file has them, for tests that draw them."""

from __future__ import annotations

from typing import Any

from dashboards.boards.file import Panel


def panel(kind: str = "timeseries", **changes: Any) -> Panel:
    """A panel of one kind, with what a test changes of it."""
    given: dict[str, Any] = {
        "number": 1, "kind": kind, "title": "Rate", "description": "", "width": 8, "first": True, "queries": {},
        "unit": "reqps", "units": {}, "links": {}, "stacked": False, **changes,
    }  # fmt: skip
    return Panel(**given)
