"""Generated text beside the files of tests/golden; `pytest --update-golden` writes those again."""

from __future__ import annotations

from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "golden"


def assert_golden(config: pytest.Config, name: str, text: str) -> None:
    """`text` is what the golden file `name` says."""
    file = FOLDER / name
    if config.getoption("--update-golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8"), f"{file} differs: see `git diff` after pytest --update-golden"
