"""Files and folders that hold telemetry: for their owner alone, whatever the umask of who started us.

What exists and is wider is narrowed when it is opened. A link is never followed to do so, and what belongs to another
user, or lies on a file system that has no modes, stays as it is: `sluiceway doctor` names it.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

UMASK = 0o077
_FOLDER_MODE, _FILE_MODE = 0o700, 0o600


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are missing, each with mode 0700. One that exists stays as it is.

    Raises:
        OSError: it cannot be made, or `path` is something else.
    """
    for folder in reversed((path, *path.parents)):
        try:
            folder.mkdir(mode=_FOLDER_MODE)
        except OSError:
            # A folder above may exist and refuse: a read-only file system, say. Only the last one has to be there.
            if folder == path and not folder.is_dir():
                raise


def make_file(path: Path) -> None:
    """Make an empty file with mode 0600 where there is none, and narrow one that is there.

    Raises:
        OSError: it cannot be made.
    """
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE))
    narrow(path)


def make_database(path: Path) -> None:
    """`make_file` for an SQLite file. SQLite gives the files beside it the mode of the file that they belong to.

    Raises:
        OSError: it cannot be made.
    """
    make_file(path)
    for suffix in ("-wal", "-shm", "-journal"):
        narrow(path.with_name(path.name + suffix))


def narrow(path: Path) -> bool:
    """Take from group and others what they may do with a file or folder of our own; False where that was not possible.

    Nothing but a folder or a regular file is touched, and a link is not followed.
    """
    try:
        if sys.platform != "linux":
            found = path.lstat()
            if is_ours(found) and is_wide(found):
                os.chmod(path, stat.S_IMODE(found.st_mode) & ~UMASK, follow_symlinks=False)  # noqa: PTH101
            return is_ours(found)
        # O_PATH: an SQLite file must not be opened beside SQLite: to close it gives up the locks of this process.
        descriptor = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            found = os.fstat(descriptor)
            if is_ours(found) and is_wide(found):
                os.chmod(f"/proc/self/fd/{descriptor}", stat.S_IMODE(found.st_mode) & ~UMASK)  # noqa: PTH101
            return is_ours(found)
        finally:
            os.close(descriptor)
    except (OSError, NotImplementedError):
        return False


def narrow_folder(path: Path, ours: Callable[[str], bool]) -> bool:
    """`narrow` for a folder that somebody named and may share: only if `ours` is true of each name in it."""
    try:
        names = [entry.name for entry in path.iterdir()]
    except OSError:
        return False
    return all(ours(name) for name in names) and narrow(path)


def narrow_below(path: Path) -> int:
    """`narrow` all that lies below a folder, and the folder; returns how many files and folders were wider."""
    wide = [at for at, found in _walk(os.fspath(path)) if is_wide(found) and is_ours(found)]
    return sum(narrow(Path(at)) for at in wide)


def walk(path: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """A file or folder and all that lies below it, each with what it is. Links are neither told nor followed.

    What cannot be looked into, or vanishes meanwhile, is left out.
    """
    for at, found in _walk(os.fspath(path)):
        yield Path(at), found


def _walk(path: str) -> Iterator[tuple[str, os.stat_result]]:
    # Text and scandir: a store has tens of files a part and thousands of parts, and this runs at each of its starts.
    with suppress(OSError):
        found = os.lstat(path)
        if not stat.S_ISLNK(found.st_mode):
            yield path, found
        folders = [path] if stat.S_ISDIR(found.st_mode) else []
        while folders:
            with suppress(OSError), os.scandir(folders.pop()) as entries:
                for entry in entries:
                    with suppress(OSError):
                        found = entry.stat(follow_symlinks=False)
                        if not stat.S_ISLNK(found.st_mode):
                            yield entry.path, found
                        if stat.S_ISDIR(found.st_mode):
                            folders.append(entry.path)


def is_ours(found: os.stat_result) -> bool:
    """Whether it is a folder or a regular file of the user that we run as."""
    return found.st_uid == os.geteuid() and (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode))


def is_wide(found: os.stat_result) -> bool:
    """Whether anybody but its owner may do something with it."""
    return bool(stat.S_IMODE(found.st_mode) & UMASK)
