"""What the engine itself writes into its folders: the form of each name and kind, looked at without following links."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

# Partition, first and last block, level, and the mutation if there was one.
PART = re.compile(rb"(?:patch-[0-9a-f]+-)?[^_]+_-?\d+_\d+_\d+(?:_\d+)?")
# Each with the first bytes of the engine's own: a part has both files, a damaged one at least one of them.
_PART_FILES = (("columns.txt", b"columns format version: "), ("checksums.txt", b"checksums format version: "))
_TABLE_FOLDERS = ("detached", "moving", "deduplication_logs")
LOG_NAME = re.compile(rb"deduplication_log_\d+\.txt")
_MUTATION_NAME = re.compile(rb"mutation_\d+\.txt")
_LINK = re.compile(r"(?:\.\./){1,2}store/([0-9a-f]{3})/(\1[0-9a-f]{5}-[0-9a-f-]{27})/?")


def foreign_in_table(path: Path) -> str:
    """Why something in the folder of a table is foreign, '' where it is not."""
    name = os.fsencode(path.name)
    if path.name in _TABLE_FOLDERS:
        return "" if is_folder(path) else "is no folder"
    if PART.fullmatch(name):
        if not is_folder(path):
            return "has the name of a part and is no folder"
        return "" if any(begins(path / file, head) for file, head in _PART_FILES) else "holds nothing of a part"
    if name.startswith(b"mutation_"):
        whole = _MUTATION_NAME.fullmatch(name) and begins(path, b"format version: ")
        return "" if whole else "is no mutation"
    if path.name == "format_version.txt":
        return "" if begins(path, b"1") else "is no version"
    if name.startswith((b"tmp", b"delete_tmp_")):
        return "" if is_folder(path) or is_file(path) else "is neither file nor folder"
    return "is not of the engine"


def begins(path: Path, head: bytes) -> bool:
    """Whether a regular file begins so."""
    if not is_file(path):
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(head)) == head
    except OSError:
        return False


def entries(folder: Path) -> Iterator[Path]:
    """What is in a folder, by name; nothing where it cannot be looked into."""
    with suppress(OSError):
        yield from sorted(folder.iterdir())


def defines_something(folder: Path) -> bool:
    """Whether a folder, and no link to one, holds definitions."""
    return is_folder(folder) and any(path.suffix == ".sql" for path in entries(folder))


def is_file(path: Path) -> bool:
    """Whether it is a regular file itself."""
    return _is(path, stat.S_ISREG)


def is_folder(path: Path) -> bool:
    """Whether it is a folder itself."""
    return _is(path, stat.S_ISDIR)


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Of the thing itself, not of what it is a link to."""
    try:
        return kind(path.lstat().st_mode)
    except OSError:
        return False


def linked_uuid(path: Path) -> str:
    """The UUID of the folder in store/ that a link of the engine's points to, '' where it is none."""
    try:
        found = _LINK.fullmatch(str(path.readlink()))
    except OSError:
        return ""
    return found[2] if found else ""


def shown(path: Path) -> str:
    """For a line of a log: no control character, and not long."""
    text = repr(str(path))
    return text if len(text) <= 200 else f"{text[:150]}…{text[-40:]}"
