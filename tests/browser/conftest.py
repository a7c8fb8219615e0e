"""The real pipeline, a short demo through it, and a real browser that may talk to nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from playwright.sync_api import Browser, ConsoleMessage, Dialog, Page, Playwright, Request, sync_playwright

from tests.conftest import free_port

DEMO_S = 20
# A chart for people needs minutes, as the rollups have a point a minute.
DEMO_FOR_SCREENSHOTS_S = 300
START_TIMEOUT_S = 600
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium")
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Pipeline:
    """A running pipeline that the demo has gone through. `from_ms` and `to_ms` enclose all of the demo."""

    viewer: str
    otlp_http: str
    store: Client
    from_ms: int
    to_ms: int

    @property
    def window(self) -> str:
        """The demo's own stretch of time, as the query part of an address."""
        return f"from={self.from_ms}&to={self.to_ms}"

    def ask(self, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Rows that the read-only user gets."""
        return [tuple(row) for row in self.store.query(sql, parameters=parameters).result_rows]


@pytest.fixture(scope="session")
def screenshots(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures go: the folder of --screenshots, else a temporary one."""
    chosen = request.config.getoption("--screenshots")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def pipeline(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """`sluiceway up` as a user runs it, after `sluiceway demo` ended with a balanced audit.

    Our own telemetry is off: it would keep changing the figures that the tests compare.
    """
    folder = tmp_path_factory.mktemp("pipeline")
    names = ("INGEST__GRPC_PORT", "INGEST__HTTP_PORT", "STORE__HTTP_PORT", "VIEWER__PORT")
    ports = {name: free_port() for name in names}
    environment = {
        **os.environ,
        **{f"SLUICEWAY_{name}": str(port) for name, port in ports.items()},
        "SLUICEWAY_DATA_DIR": str(folder / "data"),
        "SLUICEWAY_TELEMETRY__ENABLED": "false",
    }
    program = [sys.executable, "-m", "sluiceway"]
    demo_s = DEMO_FOR_SCREENSHOTS_S if request.config.getoption("--screenshots") else DEMO_S
    viewer = f"http://127.0.0.1:{ports['VIEWER__PORT']}"
    with (
        (folder / "up.log").open("wb") as log,
        subprocess.Popen([*program, "up"], env=environment, stdout=log, stderr=subprocess.STDOUT) as up,
    ):
        try:
            _wait_until_ready(up, viewer, folder / "up.log")
            from_ms = int(time.time() // 60 * 60_000)
            demo = [*program, "demo", "--seconds", str(demo_s)]
            ran = subprocess.run(
                demo, env=environment, capture_output=True, text=True, timeout=demo_s + 180, check=False
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
            with clickhouse_connect.get_client(
                host="127.0.0.1", port=ports["STORE__HTTP_PORT"], database="otel", autogenerate_session_id=False
            ) as store:
                to_ms = int(time.time() // 60 * 60_000 + 60_000)
                yield Pipeline(viewer, f"http://127.0.0.1:{ports['INGEST__HTTP_PORT']}", store, from_ms, to_ms)
        finally:
            up.terminate()
            up.wait(60)
    assert up.returncode == 0


def _wait_until_ready(up: subprocess.Popen[bytes], viewer: str, log: Path) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with urlopen(f"{viewer}/readyz", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            pass
        assert up.poll() is None, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.2)


@pytest.fixture(scope="session")
def playwright_() -> Iterator[Playwright]:
    """Playwright's driver; its own browsers are not used."""
    with sync_playwright() as driver:
        yield driver


@pytest.fixture(scope="session")
def browser(playwright_: Playwright) -> Iterator[Browser]:
    """Debian's Chromium."""
    with playwright_.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_ARGUMENTS) as running:
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
