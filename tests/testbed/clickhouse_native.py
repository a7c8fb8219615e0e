"""A program on clickhouse-go that asks over the native protocol, built once from Go modules."""

from __future__ import annotations

from pathlib import Path

from tests.testbed.collector import go
from tests.testbed.parts import cached, run

_SOURCES = Path(__file__).parent / "clickhouse_native"
_BUILD_TIMEOUT_S = 1200.0


def native_asker() -> Path:
    """The binary; prints a line of JSON for each kind of compression. Errors as `testbed.collector.binary`."""

    def build(folder: Path) -> None:
        env = {"GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
        command = ["nice", "-n", "10", go(), "build", "-o", folder / "native", "."]
        run(command, cwd=_SOURCES, timeout_s=_BUILD_TIMEOUT_S, env=env)

    made_from = b"".join(each.read_bytes() for each in sorted(_SOURCES.iterdir()))
    return cached("clickhouse-native", made_from, build) / "native"
