"""The wheel that the image installs, built once, and compose.yaml as Compose's own parser reads it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.deployment.images import ROOT
from tests.real_parts import skip_where_missing
from tests.testbed.go_tools import compose_spec

Model = dict[str, Any]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from what the Dockerfile copies."""
    folder = tmp_path_factory.mktemp("build")
    source = folder / "src"
    let_through = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for name in let_through:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
        else:
            source.mkdir(exist_ok=True)
            shutil.copy(ROOT / name, source)
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-build-isolation", "--wheel-dir", folder / "dist", source],
        check=True, timeout=120,
    )  # fmt: skip
    (made,) = (folder / "dist").glob("*.whl")
    return made


@pytest.fixture(scope="session")
def model() -> Model:
    """The project as Compose reads it: checked by its schema, variables and anchors resolved."""
    with skip_where_missing():
        tool = compose_spec()
    printed = subprocess.run(
        [tool, "-format", "json", "compose.yaml"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (printed.returncode, printed.stderr) == (0, "")
    read: Model = json.loads(printed.stdout)
    return read


@pytest.fixture(scope="session")
def services(model: Model) -> dict[str, Model]:
    found: dict[str, Model] = model["services"]
    return found
