"""How the process that runs the pipeline collects garbage and keeps memory. Numbers: measured under full load."""

from __future__ import annotations

import ctypes
import gc
import sys

# glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
# Each arena keeps pieces of the bodies that its threads freed: with one a thread, a minute of full load left 935 MB
# resident instead of 545, and more every minute.
_ARENAS = 2
_KEPT_BYTES = 64 << 20
_LARGEST_FROM_HEAP_BYTES = 32 << 20
_GC_THRESHOLDS = (20_000, 50, 100)


def bound_arenas() -> None:
    """Call once, before the first thread is started: arenas that exist are not given up."""
    _mallopt(_M_ARENA_MAX, _ARENAS)


def tune() -> None:
    """Call once, after everything is imported and before the load comes.

    What was imported lives as long as the process: frozen, it is not walked by every full collection, which cost up to
    0.45 us of CPU a span. Bodies and records of some megabytes come and go with every request: mapped anew each time,
    they cost a page fault for each page, so the allocator keeps them; what it may keep is bounded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    _mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP_BYTES)
    _mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Call every few seconds: return the free pages inside the arenas, 70 MB under full load, to the system."""
    if sys.platform == "linux" and (malloc_trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        malloc_trim(0)


def _mallopt(parameter: int, value: int) -> None:
    # Only glibc has these parameters; other allocators do without.
    if sys.platform == "linux" and (mallopt := getattr(ctypes.CDLL(None), "mallopt", None)) is not None:
        mallopt(parameter, value)
