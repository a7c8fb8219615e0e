"""Durations as people write them: `90s`, `15m`, `4h`, `7d`, `2w`."""

from __future__ import annotations

import re

PATTERN = r"^[0-9]{1,4}[smhdw]$"
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


def duration_s(text: str) -> int:
    """Seconds.

    Raises:
        ValueError: no such duration.
    """
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"must be a number and s, m, h, d or w, such as 15m; got {text[:40]!r}")
    return int(text[:-1]) * _UNIT_S[text[-1]]


def written(seconds: float | None) -> str:
    """A duration in its two largest units; '-' for none."""
    if seconds is None:
        return "-"
    left = max(0, round(seconds))
    parts: list[str] = []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if left >= size and len(parts) < 2:
            parts.append(f"{left // size}{unit}")
            left %= size
        elif parts:
            break
    return " ".join(parts) or "0s"
