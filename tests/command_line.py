"""`sluiceway` in this process, as from a shell."""

from __future__ import annotations

import pytest

from sluiceway.cli import main


def run(*arguments: str) -> int:
    """The command's exit code."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return int(ended.value.code or 0)
