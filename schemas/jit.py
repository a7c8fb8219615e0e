"""The compiler's settings, and where compiled code is kept.

numba asks only whether a function's own file has changed, while compiled code holds the functions and constants of
other files too. So the cache folder is named by the content of every file that takes part: changed code never meets
stale code, and a release finds its own. `NUMBA_CACHE_DIR` overrides the place, and then clearing it is the operator's
business.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
from numba import njit

_PACKAGES = ("schemas", "ingest", "processors")
# Only files that say this word can hold compiled code: its decorators are defined below or taken from numba.
_MARKS = (b"numba", b"schemas.wire")


def fingerprint() -> str:
    """Changes with everything that compiled code depends on."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                content = file.read_bytes()
                if any(mark in content for mark in _MARKS):
                    digest.update(content)
    return digest.hexdigest()[:16]


def _cache_folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = base / "sluiceway" / "compiled" / fingerprint()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    # A container with a read-only home compiles at each start, unless it is given a folder.
    return Path(tempfile.mkdtemp(prefix="sluiceway-compiled-"))


if not os.environ.get("NUMBA_CACHE_DIR"):
    # For this process and for the children that fill the cache for it.
    os.environ["NUMBA_CACHE_DIR"] = str(_cache_folder())
    numba.config.reload_config()  # type: ignore[no-untyped-call]

# `compiled` code takes no references to the arrays it is passed: counting them atomically, for each array at each call,
# made the decoder 4 times slower (measured). So neither it nor anything it calls can allocate: callers pass the space.
_OPTIONS: Any = {"nogil": True, "cache": True, "_nrt": False}
compiled = njit(**_OPTIONS)
inlined = njit(**_OPTIONS, forceinline=True)
