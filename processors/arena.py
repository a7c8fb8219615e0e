"""Working memory that a thread keeps from batch to batch.

A batch needs some 150 MB of arrays for a moment. Fresh memory costs a page fault for every 4 KiB, which was more than
half of the decoder's time where faults are slow (virtual machines); memory that was touched before costs nothing.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
import numpy.typing as npt

_ALIGNMENT_BYTES = 64
_PAGE_BYTES = mmap.PAGESIZE
# Address space, not memory: only what a batch touches becomes resident.
_FIRST_BYTES = 1 << 30
_KEEP_BATCHES = 50


class Arena:
    """A bump allocator over one anonymous mapping. Arrays stay valid until the next `reset`; nothing is cleared.

    Used by one thread. What none of the last `_KEEP_BATCHES` batches reached goes back to the system.
    """

    def __init__(self) -> None:
        self._used_bytes = 0
        self._reached_bytes = 0
        self._touched_bytes = 0
        self._batches = 0
        self._map(_FIRST_BYTES)

    def reset(self) -> None:
        """Start a batch: all arrays given out before become invalid."""
        self._reached_bytes = max(self._reached_bytes, self._used_bytes)
        self._touched_bytes = max(self._touched_bytes, self._used_bytes)
        self._used_bytes = 0
        self._batches += 1
        if self._batches < _KEEP_BATCHES:
            return
        keep = -(-self._reached_bytes // _PAGE_BYTES) * _PAGE_BYTES
        if keep < self._touched_bytes:
            self._mapping.madvise(mmap.MADV_DONTNEED, keep, self._touched_bytes - keep)
            self._touched_bytes = keep
        self._batches, self._reached_bytes = 0, 0

    def empty(self, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An uninitialised array of `size` elements."""
        kind = np.dtype(dtype)
        wanted = -(-size * kind.itemsize // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        if self._used_bytes + wanted > self._memory.size:
            # Arrays given out keep the old mapping alive until they are gone.
            self._map(max(2 * self._memory.size, 2 * wanted))
        start = self._used_bytes
        self._used_bytes += wanted
        return self._memory[start : start + size * kind.itemsize].view(kind)

    def _map(self, size_bytes: int) -> None:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0)
        self._mapping = mmap.mmap(-1, size_bytes, flags=flags)
        self._memory = np.frombuffer(self._mapping, np.uint8)
        self._used_bytes, self._touched_bytes = 0, 0
