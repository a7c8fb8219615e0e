"""What docs/guards.md says of the places that redaction rules look at, and of the texts that no rule reaches."""

from __future__ import annotations

import re
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "guards.md"


def documented_places() -> dict[str, set[str]]:
    """The fields that each place reaches."""
    return {
        place.strip("`"): set(re.findall(r"`([A-Z][A-Za-z.]*\.[a-z_]+)`", fields))
        for place, fields in _table("| `where` | fields of OTLP |")
    }


def documented_others() -> dict[str, bool]:
    """The fields that no rule reaches, and whether they are stored."""
    stored = {"yes": True, "no": False}
    return {name.strip("`"): stored[kept] for name, kept, _ in _table("| field | in the store | why |")}


def _table(header: str) -> list[list[str]]:
    _, _, below = DOCUMENT.read_text(encoding="utf-8").partition(f"\n{header}\n")
    assert below
    rows = below.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
