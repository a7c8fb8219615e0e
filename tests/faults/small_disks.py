"""Disks that fill up or refuse writing for real, and heal: what is available depends on what this user may do."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

MIB = 1024 * 1024


class FailingDisk(Protocol):
    """A folder whose disk can be made to fail and to heal while files are open on it."""

    folder: Path

    def fail(self) -> None: ...

    def heal(self) -> None: ...


def _mount(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def mounted_tmpfs(folder: Path, size_bytes: int) -> Iterator[bool]:
    """A tmpfs of that size on `folder`; False where mounting is not permitted."""
    folder.mkdir()
    if not _mount("-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(folder)):
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def mounting_is_permitted() -> bool:
    """Whether this process may mount a tmpfs."""
    probe = Path(os.environ.get("TMPDIR", "/tmp")) / f"sluiceway-mount-probe-{os.getpid()}"  # noqa: S108
    with mounted_tmpfs(probe, MIB) as mounted:
        pass
    probe.rmdir()
    return mounted


class FullTmpfs:
    """ENOSPC from a file system of 24 MiB; healing makes it larger."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fail(self) -> None:
        """Nothing: the disk is small from the start."""

    def heal(self) -> None:
        assert _mount("-o", f"remount,size={128 * MIB}", str(self.folder))


class FileSizeLimit:
    """EFBIG from files over 12 MiB, by the limit of this process; healing lifts it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fail(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (12 * MIB, self._before[1]))

    def heal(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._before)


class ReadOnlyMount:
    """EROFS from a file system that is remounted read-only."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fail(self) -> None:
        assert _mount("-o", "remount,ro", str(self.folder))

    def heal(self) -> None:
        assert _mount("-o", "remount,rw", str(self.folder))


class ReadOnlyPermissions:
    """EACCES from a folder and files that this user may only read; without effect for root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fail(self) -> None:
        for path in self.folder.iterdir():
            path.chmod(0o444)
        self.folder.chmod(0o555)

    def heal(self) -> None:
        self.folder.chmod(0o755)
        for path in self.folder.iterdir():
            path.chmod(0o644)


_MAY_MOUNT = mounting_is_permitted()
FULL_DISKS: dict[str, Callable[[Path], FailingDisk]] = {"file size limit": FileSizeLimit}
if _MAY_MOUNT:
    FULL_DISKS["full tmpfs"] = FullTmpfs
READ_ONLY_DISKS: dict[str, Callable[[Path], FailingDisk]] = (
    {"read-only mount": ReadOnlyMount} if _MAY_MOUNT else {"read-only permissions": ReadOnlyPermissions}
)


@contextlib.contextmanager
def failing_disk(make: Callable[[Path], FailingDisk], folder: Path) -> Iterator[FailingDisk]:
    """`make` on a fresh folder, on a tmpfs of its own where mounting is permitted; healed at the end."""
    size_bytes = 24 * MIB if make is FullTmpfs else 128 * MIB
    with mounted_tmpfs(folder, size_bytes):
        disk = make(folder)
        try:
            yield disk
        finally:
            disk.heal()
