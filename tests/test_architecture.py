"""The shape of the tree: which packages there are, how imports run, how large a file may be."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"schemas", "ingest", "processors", "dashboards", "sluiceway"}
# Folders of Python that are no part of the product.
BESIDE = {"tests", "bench", "supply"}
# Folders that running and building make.
MADE = {"build", "data", "dist", "node_modules"}
LONGEST_LINES = 400
# A longer file needs its reason here.
LONGER: dict[str, str] = {
    "schemas/telemetry.py": "one list of all that we count",
    "tests/contract/test_exactly_once.py": "one protocol, cut at each of its steps",
    "tests/contract/test_log_contract.py": "the laws of one contract",
    "tests/contract/test_receivers.py": "what both receivers promise, told once",
}
FORBIDDEN_NAMES = {"manager", "helper", "helpers", "util", "utils"}


def _sources() -> list[Path]:
    folders = [f for f in ROOT.iterdir() if f.is_dir() and not f.name.startswith(".") and f.name not in MADE]
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


def test_imports_run_one_way() -> None:
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT, capture_output=True, check=False, text=True,
    )  # fmt: skip

    assert result.returncode == 0, result.stdout + result.stderr


def test_there_is_no_other_top_level_package() -> None:
    folders = {path.relative_to(ROOT).parts[0] for path in _sources()}

    assert folders - BESIDE == PACKAGES


def test_packages_are_at_most_two_folders_deep() -> None:
    deep = [p for p in _sources() if p.relative_to(ROOT).parts[0] in PACKAGES and len(p.relative_to(ROOT).parts) > 3]

    assert deep == []


def test_a_long_file_has_a_reason_to_be_long() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _sources()}
    long = {name for name, length in lengths.items() if length > LONGEST_LINES}

    assert long == set(LONGER)


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_every_module_says_what_it_owns(package: str) -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _sources()
        if path.relative_to(ROOT).parts[0] == package and (text := path.read_text().strip())
        and ast.get_docstring(ast.parse(text)) is None
    ]  # fmt: skip

    assert silent == []


def test_names_are_the_fields_own() -> None:
    vague = []
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                words = {word.lower() for word in _words(node.name)}
                vague += [f"{path.relative_to(ROOT)}: {node.name}"] if words & FORBIDDEN_NAMES else []
        vague += [str(path)] if path.stem in FORBIDDEN_NAMES else []

    assert vague == []


def _words(name: str) -> list[str]:
    spaced = "".join(f" {c}" if c.isupper() else c for c in name)
    return spaced.replace("_", " ").split()


def test_the_engine_is_loaded_in_one_module_only() -> None:
    naming = {
        str(path.relative_to(ROOT))
        for path in _sources()
        if path.relative_to(ROOT).parts[0] in PACKAGES
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Constant) and node.value in ("chdb", "chdb._chdb"))
        or (isinstance(node, ast.Import) and any(name.name.startswith("chdb") for name in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("chdb"))
    }

    assert naming == {"sluiceway/embedded/engine.py"}


def test_the_contracts_do_no_input_or_output() -> None:
    doing = []
    for path in (p for p in _sources() if p.relative_to(ROOT).parts[0] == "schemas"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            forbidden = {"socket", "subprocess", "grpc", "uvicorn", "starlette", "clickhouse_connect", "http", "urllib"}
            doing += [f"{path.name}: {name}" for name in names if name.split(".")[0] in forbidden]

    assert doing == []
