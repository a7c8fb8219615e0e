"""Copies of a store's definitions, where the engine cannot write, for the day that one of them is cut short."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from schemas.private_files import make_folder


class DefinitionCopies:
    """Copies in `folder` of files below `data`, each of the last start at which it was whole."""

    def __init__(self, folder: Path, data: Path) -> None:
        self._folder = folder
        self._data = data

    def of(self, file: Path) -> bytes:
        """The copy of a file, b'' where there is none."""
        try:
            return self._copy(file).read_bytes()
        except OSError:
            return b""

    def keep(self, files: Collection[Path]) -> None:
        """Copy what changed, forget what is gone.

        Raises:
            OSError: there is no space for it.
        """
        copies = {self._copy(file): file for file in files}
        for copy, file in copies.items():
            content = file.read_bytes()
            if self.of(file) != content:
                make_folder(copy.parent)
                copy.write_bytes(content)
        with suppress(FileNotFoundError):
            for path in self._folder.rglob("*.sql"):
                if path not in copies:
                    path.unlink()

    def _copy(self, file: Path) -> Path:
        return self._folder / file.relative_to(self._data)
