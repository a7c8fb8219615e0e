"""Compiled code is made in a child process: the compiler would hold the interpreter's lock, which acks need."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

COMPILE_TIMEOUT_S: Final = 300
_ROOT: Final = Path(__file__).parent.parent


def is_cached(index: str, sources: Sequence[str]) -> bool:
    """Whether numba's cache holds a function, by the pattern of its index file, newer than `sources`.

    A guess by file names: a wrong one costs time, nothing else.
    """
    folder = os.environ.get("NUMBA_CACHE_DIR")
    found = Path(folder).rglob(index) if folder else (_ROOT / "ingest" / "__pycache__").glob(index)
    newest = max((_ROOT / source).stat().st_mtime for source in sources)
    return any(file.stat().st_mtime > newest for file in found)


def compile_in_child(module: str) -> None:
    """Fill the cache by importing `module` elsewhere. Where the child cannot write it, the importer compiles itself."""
    paths = os.pathsep.join(path for path in sys.path if path)
    try:
        subprocess.run(
            [sys.executable, "-c", f"import {module}"],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMPILE_TIMEOUT_S,
            env=os.environ | {"PYTHONPATH": paths},
        )
    except (OSError, subprocess.TimeoutExpired):
        return  # Compiling in this process is slower for everyone else, and right.
