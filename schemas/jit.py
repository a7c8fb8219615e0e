"""The compiler's settings, and where compiled code is kept.

numba asks only whether a function's own file has changed, while compiled code holds the functions and constants of
other files too. So the cache folder is named by the content of every file that takes part: changed code never meets
stale code, and a release finds its own. `NUMBA_CACHE_DIR` overrides the place, and then clearing it is the operator's
business.

numba must be able to write where it reads. A folder that was filled when a container image was made, and that this
process cannot write, is therefore copied once to the temporary folder.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numba
from numba import njit

_PACKAGES = ("schemas", "ingest", "processors")
# Only files that say this word can hold compiled code: its decorators are defined below or taken from numba.
_MARKS = (b"numba", b"schemas.wire")


def fingerprint() -> str:
    """Changes with everything that compiled code depends on."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    for package in _PACKAGES:
        spec = find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*.py")):
                content = file.read_bytes()
                if any(mark in content for mark in _MARKS):
                    digest.update(content)
    return digest.hexdigest()[:16]


def whole_marker() -> Path:
    """The file that is there once the cache holds all that a batch needs."""
    return Path(os.environ["NUMBA_CACHE_DIR"]) / "whole"


def _cache_folder() -> Path:
    name = fingerprint()
    private = f"sluiceway-compiled-{os.geteuid()}-{name}"
    home = _cache_home()
    if home is None:
        return _private_copy(None, private)
    folder = home / "sluiceway" / "compiled" / name
    with suppress(OSError):
        home.mkdir(parents=True, exist_ok=True)
        # Each by itself: a mode is given to the last folder alone. An image's is made by root and read by another user.
        for made in (home / "sluiceway", home / "sluiceway" / "compiled", folder):
            made.mkdir(mode=0o755, exist_ok=True)
        found = folder.stat()
        if found.st_uid == os.geteuid() and found.st_mode & 0o022:
            # Compiled code is run, and a umask that lets others write holds for the files in the folder too.
            folder.chmod(0o700)
        if os.access(folder, os.W_OK) and not folder.stat().st_mode & 0o022:
            return folder
    return _private_copy(folder if _is_trusted(folder) else None, private)


def _is_trusted(folder: Path) -> bool:
    """Whether nobody but root and we ourselves can have filled a folder."""
    with suppress(OSError):
        found = folder.stat()
        return found.st_uid in (0, os.geteuid()) and not found.st_mode & 0o022
    return False


def _cache_home() -> Path | None:
    if named := os.environ.get("XDG_CACHE_HOME"):
        return Path(named)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        # A numeric user of a container that no passwd file knows, without HOME.
        return None


def _private_copy(built: Path | None, name: str) -> Path:
    """A folder of the temporary one that only this user can write, with what `built` holds, if anything.

    The name is the same at each start, so that a container that restarts compiles and copies once.
    """
    temporary = Path(tempfile.gettempdir())
    place = temporary / name
    if not place.is_symlink() and not place.exists():
        made = Path(tempfile.mkdtemp(prefix=f"{name}.", dir=temporary))
        if built is not None:
            try:
                shutil.copytree(built, made, dirs_exist_ok=True)
            except OSError:
                # No space, most likely. Half a cache is worse than none: numba fails on a file that was cut short.
                shutil.rmtree(made)
                made.mkdir(mode=0o700)
        # copytree copies the mode of `built` too, which we may not be able to write.
        made.chmod(0o700)
        for folder in made.rglob("*/"):
            folder.chmod(0o700)
        try:
            made.rename(place)
        except OSError:
            # Another process of ours was first.
            shutil.rmtree(made, ignore_errors=True)
    found = place.lstat()
    # Compiled code is run: a folder that somebody else could have filled is not used.
    if stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022:
        return place
    return Path(tempfile.mkdtemp(prefix=f"{name}."))


def _without_empty_files(folder: Path) -> Path:
    """What a power failure left without content is compiled anew: numba would fail on it at every start."""
    for file in folder.rglob("*.nb[ic]"):
        with suppress(OSError):
            if not file.stat().st_size:
                file.unlink()
                (folder / "whole").unlink(missing_ok=True)
    return folder


if not os.environ.get("NUMBA_CACHE_DIR"):
    # For this process and for the children that fill the cache for it.
    os.environ["NUMBA_CACHE_DIR"] = str(_without_empty_files(_cache_folder()))
    numba.config.reload_config()  # type: ignore[no-untyped-call]

# `compiled` code takes no references to the arrays it is passed: counting them atomically, for each array at each call,
# made the decoder 4 times slower (measured). So neither it nor anything it calls can allocate: callers pass the space.
_OPTIONS: Any = {"nogil": True, "cache": True, "_nrt": False}
compiled = njit(**_OPTIONS)
inlined = njit(**_OPTIONS, forceinline=True)
