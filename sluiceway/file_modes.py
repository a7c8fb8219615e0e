"""Who may look into the data: narrowed at a start, looked at by `doctor`."""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path

from schemas.private_files import UMASK, is_wide, narrow, narrow_folder, walk
from sluiceway import secret_files
from sluiceway.commands.options import incidents_path, log_path, store_path
from sluiceway.config import Config

# lost+found is a file system's own.
_OURS = frozenset({"log", "store", "secrets", "lost+found"})


def keep_private(config: Config) -> None:
    """For a process that keeps telemetry: whatever it makes from here on, and its data folder, are for its user alone.

    A data folder that holds something else too is somebody's folder: it stays as it is, and `doctor` says so.
    """
    os.umask(UMASK)
    incidents = incidents_path(config)
    narrow_folder(config.data_dir, lambda name: name in _OURS or name.startswith(incidents.name))
    # The log and the store narrow theirs when they open them, at once; incidents are first written when one comes.
    for path in config.data_dir.glob(f"{incidents.name}*"):
        narrow(path)


def wide(config: Config) -> Iterator[tuple[Path, str, str]]:
    """Each file or folder with telemetry that others may use: path, what is wrong, the command that mends it."""
    owner = _owner(config.data_dir)
    for path, found in _kept(config):
        if is_wide(found):
            who = "others" if found.st_mode & 0o007 else "its group"
            yield (
                path,
                f"mode {stat.S_IMODE(found.st_mode):04o} lets {who} in",
                f"chmod go-rwx {shlex.quote(str(path))}",
            )
        if found.st_uid not in {owner, os.geteuid() or owner}:
            mend = f"chown {_name(owner)} {shlex.quote(str(path))}"
            yield path, f"belongs to {_name(found.st_uid)}, the folder to {_name(owner)}", mend


def _kept(config: Config) -> Iterator[tuple[Path, os.stat_result]]:
    data, log = config.data_dir, log_path(config)
    folders = [data, data / "secrets"]
    if not config.kafka.enabled and log.exists():
        folders.append(log.parent)
        yield from (found for path in sorted(log.parent.glob(f"{log.name}*")) for found in walk(path))
    for folder in dict.fromkeys(folders):
        if folder.is_dir():
            # Of a link the folder that it leads to: who lays one says which folder holds the data.
            yield folder, folder.stat()
    for path in sorted(data.glob(f"{incidents_path(config).name}*")):
        yield from walk(path)
    yield from walk(store_path(config))


def wide_secrets(config: Config) -> Iterator[tuple[str, Path, str, str]]:
    """Each file with a secret that others may use: setting, file, what is wrong, the command that mends it."""
    for name, file in secret_files.named(config):
        try:
            found = file.stat()
        except OSError:
            continue
        if secret_files.excess(found):
            yield name, file, secret_files.seen(file, found), secret_files.mend(file)


def _owner(folder: Path) -> int:
    try:
        return folder.stat().st_uid
    except OSError:
        return os.geteuid()


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
