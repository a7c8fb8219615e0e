"""A real Prometheus server over samples of the past: the oracle for what rate, increase and quantiles mean."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlencode
from urllib.request import urlopen

from tests.testbed.parts import MissingPartError, Part, free_ports, run

INSTALL = "a Prometheus server is missing; on Debian: apt-get install prometheus"
_START_TIMEOUT_S = 60


def _binary(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise MissingPartError(INSTALL)
    return found


class Prometheus:
    """A server that holds the samples of `openmetrics`; also a context manager.

    Raises:
        MissingPartError: this machine has none.
        PartFailedError: the text is not OpenMetrics, or the server does not start.
    """

    def __init__(self, folder: Path, openmetrics: str) -> None:
        self._part = Part("prometheus", folder)
        [port] = free_ports(1)
        self._url = f"http://127.0.0.1:{port}/api/v1/query"
        samples, blocks, configuration = folder / "samples.txt", folder / "blocks", folder / "prometheus.yml"
        samples.write_text(openmetrics, encoding="utf-8")
        configuration.write_text("global: {}\n")
        run(
            [_binary("promtool"), "tsdb", "create-blocks-from", "openmetrics", samples, blocks],
            cwd=folder, timeout_s=_START_TIMEOUT_S,
        )  # fmt: skip
        self._command = [
            _binary("prometheus"), f"--config.file={configuration}", f"--storage.tsdb.path={blocks}",
            # What it is asked about is older than what it would keep.
            "--storage.tsdb.retention.time=100y", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip

    def __enter__(self) -> Self:
        self._part.spawn(self._command)
        try:
            self._part.await_log("Server is ready to receive web requests", 0, _START_TIMEOUT_S)
        except BaseException:
            self._part.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.stop()

    def query(self, expression: str, at_s: float) -> list[dict[str, Any]]:
        """What an expression is at one moment: `metric` (labels) and `value` ([time, text]) of each series."""
        with urlopen(f"{self._url}?{urlencode({'query': expression, 'time': repr(at_s)})}", timeout=30) as answer:
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found
