"""The real pipeline as a user runs it, after the demo went through it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import clickhouse_connect
from clickhouse_connect.driver.client import Client

from tests.testbed.parts import free_ports

START_TIMEOUT_S = 600
_PORTS = ("INGEST__GRPC_PORT", "INGEST__HTTP_PORT", "STORE__HTTP_PORT", "VIEWER__PORT")


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


@contextmanager
def demo_done(folder: Path, demo_s: int, *, telemetry: bool, alerts: bool = False) -> Iterator[Pipeline]:
    """`sluiceway up` after `sluiceway demo` ended with a balanced audit; with `telemetry` it tells of itself.

    With `alerts` it evaluates the alert rules, of which one fires until the demo has begun.
    """
    ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
    environment = {
        **os.environ,
        **{f"SLUICEWAY_{name}": str(port) for name, port in ports.items()},
        "SLUICEWAY_DATA_DIR": str(folder / "data"),
        "SLUICEWAY_TELEMETRY__ENABLED": str(telemetry).lower(),
        "SLUICEWAY_ALERTS__EVALUATE": str(alerts).lower(),
    }
    program = [sys.executable, "-m", "sluiceway"]
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
