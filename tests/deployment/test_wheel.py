"""What the image installs: the wheel, built from what the Dockerfile copies, run where nothing can be written."""

from __future__ import annotations

import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.deployment import confinement
from tests.deployment.images import ROOT, VERSION
from tests.faults.small_disks import mounting_is_permitted

PACKAGES = ("schemas", "ingest", "processors", "dashboards", "sluiceway")


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder)
    return folder


def test_the_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    tracked = subprocess.run(
        ["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    with zipfile.ZipFile(wheel) as packed:
        names = set(packed.namelist())

    assert {Path(name).suffix for name in tracked} >= {".py", ".sql", ".html"}
    assert [name for name in tracked if (ROOT / name).exists() and name not in names] == []
    assert {name.split("/")[0] for name in names} == {*PACKAGES, f"sluiceway-{VERSION}.dist-info"}


def confined(installed: Path, scratch: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run with the wheel's code where nothing can be written."""
    return subprocess.run(
        confinement.command(*arguments), cwd="/", env=confinement.environment(installed, scratch),
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def test_the_code_that_runs_is_the_wheels(installed: Path, scratch: Path) -> None:
    program = f"import {', '.join(PACKAGES)}; print(*({', '.join(f'{name}.__file__' for name in PACKAGES)}), sep='\\n')"
    ran = confined(installed, scratch, "-c", program)

    assert [Path(line).parent.parent for line in ran.stdout.splitlines()] == [installed] * len(PACKAGES), ran.stderr


@pytest.mark.parametrize("arguments", [("version",), ("config", "show")], ids=" ".join)
def test_a_command_runs_where_nothing_can_be_written(
    installed: Path, scratch: Path, arguments: tuple[str, ...]
) -> None:
    ran = confined(installed, scratch, "-W", "error", "-m", "sluiceway", *arguments)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert (VERSION if arguments == ("version",) else "grpc_port: 4317") in ran.stdout


def test_every_module_of_the_wheel_loads_where_nothing_can_be_written(installed: Path, scratch: Path) -> None:
    program = f"""
import importlib, pkgutil
for package in {PACKAGES}:
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
from schemas import jit
print(jit.whole_marker().parent.parent)
"""
    ran = confined(installed, scratch, "-c", program)

    assert (ran.returncode, ran.stdout.strip()) == (0, str(scratch)), ran.stderr
    if mounting_is_permitted():
        refused = confined(installed, scratch, "-c", "open('/written', 'w')")
        assert "Read-only file system" in refused.stderr
