"""One file a question, in ClickHouse SQL with typed parameters `{name:Type}`.

A line `-- include: FILE` stands for the text of FILE, so that an expression shared by questions is written once.
"""

from __future__ import annotations

import functools
import re
from importlib import resources

_INCLUDE = re.compile(r"^-- include: (\S+)$", re.MULTILINE)


@functools.cache
def read(name: str) -> str:
    """The SQL of question `name` (a file's name without `.sql`), includes resolved.

    Raises:
        FileNotFoundError: there is no such question.
    """
    text = resources.files(__name__).joinpath(f"{name}.sql").read_text(encoding="utf-8")
    return _INCLUDE.sub(lambda match: read(match[1].removesuffix(".sql")).rstrip(), text)


def names() -> list[str]:
    """Every question and shared expression that ships."""
    return sorted(
        entry.name.removesuffix(".sql") for entry in resources.files(__name__).iterdir() if entry.name.endswith(".sql")
    )
