"""One file a question, in ClickHouse SQL with typed parameters `{name:Type}`; shared text as `schemas.sql` has it."""

from __future__ import annotations

import functools
from importlib import resources

from schemas import sql


@functools.cache
def read(name: str) -> str:
    """The SQL of question `name` (a file's name without `.sql`), includes resolved.

    Raises:
        FileNotFoundError: there is no such question.
    """
    return sql.read(resources.files(__name__), name)


def names() -> list[str]:
    """Every question and shared expression that ships."""
    return sorted(
        entry.name.removesuffix(".sql") for entry in resources.files(__name__).iterdir() if entry.name.endswith(".sql")
    )
