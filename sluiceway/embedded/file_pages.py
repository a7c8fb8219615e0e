"""Give the pages of a library that only a start needed back to the page cache.

A start touches 220 of the 520 MB of code and constants in the engine's library, and 65 of the compiler's 150 MB, most
of them never again. They stay resident in the process until memory is short. What is touched again Linux maps anew from
the page cache, 64 KiB at a fault.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path

STARTED_S = 15.0
"""Seconds after which a process has run all that only a start runs."""

_MADV_DONTNEED = 4
# A mapping in /proc/self/smaps: from, to, rights, file.
_MAPPING = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+ +(\S.*)$")


def drop(library: str) -> int:
    """Drop the resident file pages of libraries whose file name begins with `library`; returns the bytes mapped there.

    Only of mappings that cannot be written and of which no page was: what madvise(2) drops there is the file's, and is
    read from it again. Nothing is dropped where the system does not tell which those are.
    """
    if sys.platform != "linux":
        return 0
    madvise = ctypes.CDLL(None, use_errno=True).madvise
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    return sum(end - start for start, end in _untouched(library) if madvise(start, end - start, _MADV_DONTNEED) == 0)


def _untouched(library: str) -> Iterator[tuple[int, int]]:
    found: tuple[int, int] | None = None
    try:
        mappings = Path("/proc/self/smaps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return
    for line in mappings.splitlines():
        if mapping := _MAPPING.match(line):
            start, end, rights, path = mapping.groups()
            ours = rights in ("r-xp", "r--p") and Path(path).name.startswith(library)
            found = (int(start, 16), int(end, 16)) if ours else None
        elif found and line.startswith("Anonymous:") and line.split()[1] == "0":
            yield found
            found = None
