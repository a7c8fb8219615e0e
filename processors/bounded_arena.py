"""An arena with a bound, for what decoding asks of it while a batch can still be made smaller."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt

from processors.arena import Arena


class ArenaFullError(Exception):
    """More was asked of the arena than its bound."""


class BoundedArena(Arena):
    """An arena that refuses what goes over a bound, while there is one."""

    def __init__(self) -> None:
        super().__init__()
        self._asked_bytes = 0
        self._limit_bytes: int | None = None

    @contextmanager
    def bounded(self, limit_bytes: int | None) -> Iterator[None]:
        """Within the block at most `limit_bytes` are given out from one reset to the next; None is no bound.

        Raises:
            ArenaFullError: from `empty`, at the bound.
        """
        self._limit_bytes = limit_bytes
        try:
            yield
        finally:
            self._limit_bytes = None

    def reset(self) -> None:
        """As `Arena.reset`."""
        self._asked_bytes = 0
        super().reset()

    def empty(self, size: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """As `Arena.empty`, within the bound."""
        self._asked_bytes += size * np.dtype(dtype).itemsize
        if self._limit_bytes is not None and self._asked_bytes > self._limit_bytes:
            raise ArenaFullError(f"{self._asked_bytes} bytes asked for, the bound is {self._limit_bytes}")
        return super().empty(size, dtype)
