"""Command line tools that the deployment's files are checked with, each built once from a Go module."""

from __future__ import annotations

import json
from pathlib import Path

from tests.testbed.collector import go
from tests.testbed.parts import cached, run

# Kustomize 5.8.3 and later need a newer Go than the rest does.
KUSTOMIZE = "sigs.k8s.io/kustomize/kustomize/v5@v5.8.1"
# The parser of Docker Compose itself, with the schema of the Compose specification.
COMPOSE = "github.com/compose-spec/compose-go/v2/cmd@v2.16.2"
KEDA = "github.com/kedacore/keda/v2@v2.21.0"
_BUILD_TIMEOUT_S = 1200.0


def kustomize() -> Path:
    """The binary, built at the first call; errors as `testbed.collector.binary`."""
    return _installed("kustomize", KUSTOMIZE)


def compose_spec() -> Path:
    """`compose-spec -format json FILE` prints the model of a Compose file; errors as above."""
    return _installed("cmd", COMPOSE)


def keda_definitions() -> Path:
    """A folder with the CustomResourceDefinitions of KEDA, YAML; errors as above."""

    def make(folder: Path) -> None:
        printed = run([go(), "mod", "download", "-json", KEDA], cwd=folder, timeout_s=_BUILD_TIMEOUT_S)
        module = Path(json.loads(printed[printed.index("{") :])["Dir"])
        for file in sorted((module / "config" / "crd" / "bases").glob("keda.sh_*.yaml")):
            (folder / file.name).write_bytes(file.read_bytes())

    return cached("keda", KEDA.encode(), make)


def _installed(name: str, module: str) -> Path:
    def build(folder: Path) -> None:
        env = {"GOBIN": str(folder), "GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
        run(["nice", "-n", "10", go(), "install", module], cwd=folder, timeout_s=_BUILD_TIMEOUT_S, env=env)

    return cached(module.split("/")[1], module.encode(), build) / name
