"""Imports are declared and declarations are imported: nothing reaches us by the way, nothing comes for nothing."""

from __future__ import annotations

import ast
import importlib.util
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("schemas", "ingest", "processors", "dashboards", "sluiceway")
BESIDE = ("tests", "bench", "supply")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Not imported by us: by whom, then.
FOR_OTHERS = {
    "crc32c": "kafka",
    "zstandard": "kafka",
    "uvloop": "uvicorn",
    # Python 3.14 has it by another name.
    "backports-zstd": "schemas",
    # Started by name in a process of its own.
    "chdb-core": "sluiceway",
}


def required(requirements: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in requirements}


DIRECT = required([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["embedded"]])
DEVELOPING = required([*PROJECT["optional-dependencies"]["dev"], *PROJECT["optional-dependencies"]["bench"]])


@cache
def owners() -> dict[Path, str]:
    """The distribution of every installed file."""
    return {
        Path(str(found.locate_file(file))).resolve(): canonicalize_name(found.metadata["Name"])
        for found in metadata.distributions()
        for file in found.files or ()
        if file.suffix in (".py", ".so", ".pyd")
    }


def imported(folders: tuple[str, ...]) -> dict[str, str]:
    """Every foreign module that the folders import, and a file that does."""
    found: dict[str, str] = {}
    for path in (path for folder in folders for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                # A name may be a module of its own: `from google.rpc import status_pb2`.
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            else:
                continue
            for name in names:
                if name.split(".")[0] not in {*sys.stdlib_module_names, *PRODUCT, *BESIDE}:
                    found.setdefault(name, str(path.relative_to(ROOT)))
    return found


def distribution(name: str) -> str | None:
    """Who ships the module, or the module that the name is taken from; None where none is installed for this Python."""
    while name:
        try:
            spec = importlib.util.find_spec(name)
        except (ModuleNotFoundError, AttributeError, ValueError):
            spec = None
        if spec is not None and spec.origin is not None:
            return owners().get(Path(spec.origin).resolve())
        name = name.rpartition(".")[0]
    return None


def shipped(folders: tuple[str, ...]) -> dict[str, str]:
    """The distribution of every import, and a file that needs it."""
    return {of: path for name, path in imported(folders).items() if (of := distribution(name)) is not None}


@pytest.mark.parametrize(
    ("folders", "declared"), [(PRODUCT, DIRECT), (BESIDE, DIRECT | DEVELOPING)], ids=["product", "beside it"]
)
def test_what_is_imported_is_declared(folders: tuple[str, ...], declared: set[str]) -> None:
    found = shipped(folders)

    assert {of: path for of, path in found.items() if of not in declared} == {}
    assert len(found) > 20


def test_what_is_declared_is_imported_or_somebody_else_needs_it() -> None:
    unused = DIRECT - set(shipped(PRODUCT))

    assert unused <= set(FOR_OTHERS)


def test_a_requirement_is_declared_once() -> None:
    for requirements in (PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()):
        names = [Requirement(line).name for line in requirements]
        assert sorted(names) == sorted(set(names))


def test_no_web_framework_comes_along_for_a_file() -> None:
    """NiceGUI brought some 25 packages that nothing imported."""
    gone = {"nicegui", "fastapi", "python-socketio", "python-engineio", "watchfiles", "httpx", "itsdangerous"}
    reached, todo = set(), set(DIRECT)
    while todo:
        name = todo.pop()
        reached.add(name)
        try:
            requires = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        wanted = (Requirement(line) for line in requires)
        todo |= {
            canonicalize_name(each.name)
            for each in wanted
            if each.marker is None or each.marker.evaluate({"extra": ""})
        } - reached

    assert reached & gone == set()
    assert len(reached) > len(DIRECT)
