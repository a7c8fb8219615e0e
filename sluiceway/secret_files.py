"""Files with secrets that settings name: who else may read one, and what is done about it."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import BaseModel

from schemas.errors import ConfigurationError

# Certificates are for everybody to see; a password and the key of a certificate or of a hash are not.
_SECRET = re.compile(r"(?:password|secret|key)_?file$")


def excess(found: os.stat_result) -> int:
    """The mode bits of a file that let in somebody whom it is not for; 0 where there are none.

    As PostgreSQL asks of the key of its certificate: a file of our own is for us alone. One of another user, root as a
    rule, may be read by its group, which is how Kubernetes (fsGroup) and Docker let a container's user in.
    """
    ours = found.st_uid == os.geteuid() and found.st_uid != 0
    return stat.S_IMODE(found.st_mode) & (0o077 if ours else 0o037)


def read(file: Path, name: str) -> bytes:
    """What a file holds that must be kept from others.

    Args:
        file: links are followed: Kubernetes lays links.
        name: of the setting, for errors.

    Raises:
        ConfigurationError: others may read or write the file; it cannot be read.
    """
    try:
        with file.open("rb") as opened:
            # Of what was opened: between a look at the name and the reading another file could come in its place.
            found = os.fstat(opened.fileno())
            if excess(found) and stat.S_ISREG(found.st_mode):
                raise ConfigurationError(
                    f"{name}: must be readable by its owner alone; {seen(file, found)}; {mend(file)}"
                )
            return opened.read()
    except OSError as error:
        raise ConfigurationError(f"{name}: must be readable ({error.strerror}); got {file}") from error


def seen(file: Path, found: os.stat_result) -> str:
    """File and mode, for people."""
    return f"got mode {stat.S_IMODE(found.st_mode):04o} of {file}"


def mend(file: Path) -> str:
    """The command that keeps others out."""
    return f"run: chmod 0400 {shlex.quote(str(file))}"


def named(settings: object, name: str = "") -> Iterator[tuple[str, Path]]:
    """Each setting that names a file with a secret, and the file, in settings, maps and lists of them."""
    if isinstance(settings, Path):
        if _SECRET.search(name):
            yield name, settings
        return
    if isinstance(settings, BaseModel):
        inner = [(field, getattr(settings, field)) for field in type(settings).model_fields]
    elif isinstance(settings, Mapping):
        inner = [(str(key), value) for key, value in settings.items()]
    elif isinstance(settings, list | tuple):
        inner = [(str(number), value) for number, value in enumerate(settings)]
    else:
        return
    for part, value in inner:
        yield from named(value, f"{name}.{part}" if name else part)
