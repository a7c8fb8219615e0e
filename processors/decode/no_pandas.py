"""pyarrow looks for pandas at its first conversion and imports what it finds: 58 MB and 0.4 s of CPU in each process.

It is found because the engine's wheel asks for it; nothing of ours does. pyarrow looks once, so it looks in vain once,
and whoever imports pandas afterwards still gets it.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

import pyarrow as pa


class _NotHere:
    """A finder that has looked for pandas and says that there is none."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG004
        if name == "pandas":
            raise ModuleNotFoundError(name, name=name)
        return None


def look_in_vain() -> None:
    """Have pyarrow decide that there is no pandas. Without effect where it, or anyone, has imported it before."""
    sys.meta_path.insert(0, _NotHere)
    try:
        pa.array([])
    finally:
        sys.meta_path.remove(_NotHere)
