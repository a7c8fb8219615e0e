"""Series of numbers as pictures: sparklines drawn here as SVG, charts as options for ECharts; each with its text.

A chart's text alternative is part of it: a sentence with the numbers for its label, and every point for its table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from dashboards.viewer import figures

Values = Sequence[float | None]
# Named moments, Unix seconds; two of them may have one name.
Marks = Sequence[tuple[str, float]]
Unit = Literal["rate", "share", "duration", "count", "size", "plain"]

SPARK_WIDTH, SPARK_HEIGHT = 120, 28
_WRITE: dict[Unit, Callable[[float], str]] = {
    "rate": figures.rate,
    "share": figures.share,
    "duration": figures.duration,
    "count": lambda items: figures.count(round(items)),
    "size": figures.size,
    "plain": figures.plain,
}


def written(value: float | None, unit: Unit) -> str:
    """A value in its unit."""
    return figures.NONE if value is None else _WRITE[unit](value)


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A small line. `lines` are SVG polyline points, a line for each stretch without a gap; `dots` are lone points."""

    lines: list[str]
    dots: list[tuple[float, float]]
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart for the page: `options` go to ECharts as they are, but for the axis format that `unit` names."""

    key: str
    title: str
    unit: Unit
    options: dict[str, Any]
    label: str
    columns: list[str]
    rows: list[tuple[float, list[str]]]


def sparkline(name: str, values: Values, unit: Unit, *, ceiling: float | None = None) -> Sparkline:
    """A line from zero to the largest value, or to `ceiling` if that is more."""
    top = max([value for value in values if value is not None] + [ceiling or 0.0]) or 1.0
    width = max(len(values) - 1, 1)
    stretches: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            stretches.append([])
            continue
        x = 2 + index / width * (SPARK_WIDTH - 4)
        y = SPARK_HEIGHT - 2 - value / top * (SPARK_HEIGHT - 4)
        stretches[-1].append((round(x, 1), round(y, 1)))
    return Sparkline(
        lines=[" ".join(f"{x},{y}" for x, y in stretch) for stretch in stretches if len(stretch) > 1],
        dots=[stretch[0] for stretch in stretches if len(stretch) == 1],
        label=f"{name}: {_summary(values, unit)}",
    )


def chart(
    key: str, title: str, unit: Unit, times_s: Sequence[int], series: Mapping[str, tuple[str, Values]], *,
    marks: Marks = (), stacked: bool = False, over_s: tuple[int, int] | None = None,
) -> Chart:  # fmt: skip
    """Lines over time.

    Args:
        series: by name, the name of its colour in the style sheet and its values.
        marks: drawn as vertical lines.
        over_s: the ends of the axis, where they are not the first and the last time.
    """
    ends_s = over_s or ((times_s[0], times_s[-1]) if times_s else None)
    options: dict[str, Any] = {
        "xAxis": {"min": ends_s[0] * 1000, "max": ends_s[1] * 1000} if ends_s else {},
        "series": [
            {
                "name": name,
                "colour": colour,
                "data": [[at * 1000, value] for at, value in zip(times_s, values, strict=True)],
                "stack": "all" if stacked else None,
            }
            for name, (colour, values) in series.items()
        ],
        "marks": [{"name": name, "xAxis": at * 1000} for name, at in marks],
    }
    write = _WRITE[unit]
    columns = [values for _, values in series.values()]
    return Chart(
        key=key,
        title=title,
        unit=unit,
        options=options,
        label=f"{title}. "
        + "; ".join(f"{name}: {_summary(values, unit)}" for name, (_, values) in series.items())
        + ".",
        columns=list(series),
        rows=[
            (at, [figures.NONE if values[index] is None else write(values[index]) for values in columns])  # type: ignore[arg-type]
            for index, at in enumerate(times_s)
            if any(values[index] is not None for values in columns)
        ],
    )


def _summary(values: Values, unit: Unit) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "no data"
    write = _WRITE[unit]
    return f"latest {write(known[-1])}, lowest {write(min(known))}, highest {write(max(known))}"
