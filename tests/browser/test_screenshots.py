"""The README's pictures, taken from a real demo: `make screenshots` writes them into docs/images."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.conftest import Pipeline

# The first test waits for the pipeline, a decoder that may have to be compiled, and the demo.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("name", "path"),
    [("services", "/"), ("service", "/service/payment"), ("pipeline", "/pipeline"), ("alerts", "/alerts")],
)
def test_a_picture_of_each_page(page: Page, pipeline: Pipeline, screenshots: Path, name: str, path: str) -> None:
    page.goto(f"{pipeline.viewer}{path}?{pipeline.window}")
    page.wait_for_selector("body[data-ready]")
    page.screenshot(path=screenshots / f"{name}.png")
    assert (screenshots / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_of_the_trace_with_most_failures(page: Page, pipeline: Pipeline, screenshots: Path) -> None:
    # A short demo may have no failed call; the trace with the most failed spans is then one without any.
    ((trace_id,),) = pipeline.ask(
        "SELECT TraceId FROM otel_traces WHERE TraceId != '' GROUP BY TraceId"
        " ORDER BY countIf(StatusCode = 'Error') DESC, count() DESC, TraceId LIMIT 1"
    )
    page.goto(f"{pipeline.viewer}/trace/{trace_id}")
    page.wait_for_selector(".waterfall")
    page.screenshot(path=screenshots / "trace.png")
    assert (screenshots / "trace.png").read_bytes().startswith(b"\x89PNG")
