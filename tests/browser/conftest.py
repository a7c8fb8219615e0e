"""The real pipeline, a short demo through it, and a real browser that may talk to nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Playwright, Request

from tests.chromium import ARGUMENTS, CHROMIUM
from tests.running_pipeline import Pipeline, demo_done

DEMO_S = 20
# A chart for people needs minutes, as the rollups have a point a minute.
DEMO_FOR_SCREENSHOTS_S = 300


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: the folder of --screenshots, else a temporary one."""
    chosen = request.config.getoption("--screenshots")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """`sluiceway up` after a demo. Our own telemetry is off: it would keep changing the figures that tests compare."""
    demo_s = DEMO_FOR_SCREENSHOTS_S if request.config.getoption("--screenshots") else DEMO_S
    with demo_done(tmp_path_factory.mktemp("pipeline"), demo_s, telemetry=False, alerts=True) as running:
        yield running


@pytest.fixture(scope="session")
def browser(playwright_: Playwright) -> Iterator[Browser]:
    """Debian's Chromium."""
    with playwright_.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS) as running:
        yield running


@pytest.fixture
def page(browser: Browser, pipeline: Pipeline) -> Iterator[Page]:
    """A page in a fresh profile. At the end: it asked nobody but the viewer, and no script failed or was refused."""
    complaints: list[str] = []

    def on_request(request: Request) -> None:
        if not request.url.startswith(f"{pipeline.viewer}/"):
            complaints.append(f"asked {request.url}")

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            complaints.append(f"console: {message.text}")

    def on_dialog(dialog: Dialog) -> None:
        complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    with browser.new_context(viewport={"width": 1360, "height": 900}, color_scheme="light") as context:
        opened = context.new_page()
        opened.on("request", on_request)
        opened.on("console", on_console)
        opened.on("pageerror", lambda error: complaints.append(f"script: {error}"))
        opened.on("dialog", on_dialog)
        yield opened
    assert complaints == []
