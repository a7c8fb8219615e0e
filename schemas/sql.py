"""SQL out of files, one statement each.

A line `-- include: FILE` stands for the text of FILE of the same folder, indented as the line is, so that an expression
shared by statements is written once; a comma at its end is kept.
"""

from __future__ import annotations

import re
import textwrap
from importlib.resources.abc import Traversable

_INCLUDE = re.compile(r"^( *)-- include: (\S+)\.sql(,?)$", re.MULTILINE)


def read(folder: Traversable, name: str, shared: Traversable | None = None) -> str:
    """The text of `name` (a file of `folder` without `.sql`), includes resolved, from `shared` where it is given.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def included(match: re.Match[str]) -> str:
        return textwrap.indent(read(shared or folder, match[2]).rstrip(), match[1]) + match[3]

    return _INCLUDE.sub(included, folder.joinpath(f"{name}.sql").read_text(encoding="utf-8"))
