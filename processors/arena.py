"""Working memory that a thread keeps from batch to batch.

A batch needs some 150 MB of arrays for a moment. Fresh memory costs a page fault for every 4 KiB, which was more than
half of the decoder's time where faults are slow (virtual machines); memory that was touched before costs nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ALIGNMENT_BYTES = 64
_SPARE = 1.25
_KEEP_BATCHES = 50


class Arena:
    """A bump allocator. Arrays stay valid until the next `reset`; nothing is cleared.

    Used by one thread. It grows to what batches need, and lets go of what the last batches did not.
    """

    def __init__(self) -> None:
        self._chunks: list[npt.NDArray[np.uint8]] = []
        self._used_bytes = 0
        self._total_bytes = 0
        self._high_bytes = 0
        self._batches = 0

    def reset(self) -> None:
        """Start a batch: all arrays given out before become invalid."""
        self._high_bytes = max(self._high_bytes, self._total_bytes)
        self._batches += 1
        kept = sum(chunk.size for chunk in self._chunks)
        oversized = self._batches >= _KEEP_BATCHES and kept > 2 * _SPARE * self._high_bytes
        if len(self._chunks) > 1 or oversized:
            self._chunks = [np.empty(int(_SPARE * self._high_bytes) + 4096, np.uint8)]
        if self._batches >= _KEEP_BATCHES:
            self._batches, self._high_bytes = 0, self._total_bytes
        self._used_bytes, self._total_bytes = 0, 0

    def empty(self, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An uninitialised array of `size` elements."""
        kind = np.dtype(dtype)
        wanted = -(-size * kind.itemsize // _ALIGNMENT_BYTES) * _ALIGNMENT_BYTES
        if not self._chunks or self._used_bytes + wanted > self._chunks[-1].size:
            self._chunks.append(np.empty(max(wanted, 1 << 20), np.uint8))
            self._used_bytes = 0
        start = self._used_bytes
        self._used_bytes += wanted
        self._total_bytes += wanted
        return self._chunks[-1][start : start + size * kind.itemsize].view(kind)
