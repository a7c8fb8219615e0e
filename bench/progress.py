"""What a measure says while it runs, beside what it prints."""

from __future__ import annotations

import sys
import time


def say(text: str) -> None:
    """A line with the time of day, to standard error."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
