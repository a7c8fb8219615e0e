"""What a container with a read-only root does to a process, without a container."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.faults.small_disks import mounting_is_permitted

# Everything read-only but an empty TMPDIR, and root without the right to pass over permissions.
_CONFINED = """
set -e
mount -t tmpfs -o size=64m tmpfs "$TMPDIR"
mount -o remount,bind,ro /
exec setpriv --bounding-set -all --inh-caps -all -- "$@"
"""


def command(*arguments: str) -> list[str]:
    """Python with `arguments`, confined where this user may mount; the process keeps its id through all of it."""
    words = [sys.executable, *arguments]
    if mounting_is_permitted():
        words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", _CONFINED, "sh", *words]
    return words


def environment(code: Path, scratch: Path, others: Mapping[str, str] | None = None) -> dict[str, str]:
    """Nothing of the caller's: `code` first on Python's path, no home, and `scratch` as the folder to write to."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(code),
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(scratch),
        "HOME": "/nonexistent/home",
        "COLUMNS": "200",
        **(others or {}),
    }
