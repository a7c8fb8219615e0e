"""An arena whose arrays each end at a page without access: one byte read or written past an array ends the process."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.arena import Arena

_LIBC = ctypes.CDLL(None, use_errno=True)


def _guarded(size_bytes: int) -> npt.NDArray[np.uint8]:
    # Anonymous memory; `size_bytes` are whole pages.
    memory = np.frombuffer(mmap.mmap(-1, size_bytes + mmap.PAGESIZE), np.uint8)
    guard = ctypes.c_void_p(memory.ctypes.data + size_bytes)
    assert _LIBC.mprotect(guard, ctypes.c_size_t(mmap.PAGESIZE), 0) == 0, os.strerror(ctypes.get_errno())
    return memory[:size_bytes]


class GuardedArena(Arena):
    """`fill` is the byte that arrays begin with: nothing decoded may depend on it."""

    def __init__(self, fill: int | None = None) -> None:
        super().__init__()
        self.fill = fill
        self._free: dict[int, list[npt.NDArray[np.uint8]]] = {}
        self._given: list[npt.NDArray[np.uint8]] = []

    def reset(self) -> None:
        """What was given out is given out again."""
        for region in self._given:
            self._free.setdefault(region.size, []).append(region)
        self._given = []

    def empty(self, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array that ends where a page begins that must not be touched."""
        size_bytes = size * np.dtype(dtype).itemsize
        pages = 1 << max(-(-size_bytes // mmap.PAGESIZE) - 1, 0).bit_length()
        free = self._free.setdefault(pages * mmap.PAGESIZE, [])
        region = free.pop() if free else _guarded(pages * mmap.PAGESIZE)
        self._given.append(region)
        array = region[region.size - size_bytes :]
        if self.fill is not None:
            array.fill(self.fill)
        return array.view(dtype)
