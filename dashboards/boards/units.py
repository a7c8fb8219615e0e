"""Grafana's names of units as ours: a way to write a number, and what to multiply it by first."""

from __future__ import annotations

from collections.abc import Mapping

from dashboards.viewer.charts import Unit, written

_UNITS: Mapping[str, tuple[Unit, float]] = {
    "reqps": ("rate", 1),
    "ops": ("rate", 1),
    "cps": ("rate", 1),
    "percentunit": ("share", 1),
    "percent": ("share", 0.01),
    "ns": ("duration", 1),
    "µs": ("duration", 1e3),
    "ms": ("duration", 1e6),
    "s": ("duration", 1e9),
    "bytes": ("size", 1),
    "decbytes": ("size", 1),
}


def unit_of(name: str) -> tuple[Unit, float]:
    """The unit and the factor; a plain number where the name is not known."""
    return _UNITS.get(name, ("plain", 1))


def text_of(value: float | None, name: str) -> str:
    """A number in a unit of Grafana's."""
    unit, factor = unit_of(name)
    return written(None if value is None else value * factor, unit)
