"""What hostile statements are aimed at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Targets:
    """What statements are aimed at.

    Attributes:
        part: a file of the store that must stay as it is.
        evil: one that must not appear.
        readable: files that hold secrets.
        listener: host:port where somebody listens who must hear nothing.
        private: a table of another database, qualified.
        ours: a table that may be read.
    """

    part: Path
    evil: Path
    readable: tuple[Path, ...]
    listener: str
    private: str
    ours: str


def lines(name: str) -> Iterator[str]:
    """The lines of a file beside this one, but those that begin with #."""
    for line in Path(__file__).with_name(name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield line
