"""Numbers as text: one way to write a rate, a share, a duration, a count, a size and a time on every page."""

from __future__ import annotations

import datetime as dt
import math

NONE = "-"
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


def _three_digits(value: float) -> str:
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else NONE
    decimals = max(0, min(3, 2 - math.floor(math.log10(abs(value)))))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def rate(per_s: float | None) -> str:
    """Events a second."""
    if per_s is None:
        return NONE
    return "<0.001/s" if 0 < per_s < 0.001 else f"{_three_digits(per_s)}/s"


def share(ratio: float | None) -> str:
    """A ratio as percent; what is not zero never reads as zero, and what is not all never as all."""
    if ratio is None:
        return NONE
    percent = ratio * 100
    if 0 < percent < 0.01:
        return "<0.01 %"
    if 99.99 < percent < 100:
        return ">99.99 %"
    return f"{_three_digits(round(percent, 2))} %"


def duration(ns: float | None) -> str:
    """A duration given in nanoseconds."""
    if ns is None:
        return NONE
    for limit, unit, size in (
        (1e3, "ns", 1.0),
        (1e6, "µs", 1e3),
        (1e9, "ms", 1e6),
        (60e9, "s", 1e9),
        (3600e9, "min", 60e9),
    ):
        if ns < limit * 0.9995:
            return f"{_three_digits(ns / size)} {unit}"
    return f"{_three_digits(ns / 3600e9)} h"


def count(items: int | None) -> str:
    """How many; never rounded."""
    return NONE if items is None else f"{items:,}"


def plain(number: float) -> str:
    """A number without unit, to three digits where it has a fraction."""
    return f"{number:,.0f}" if number == round(number) else _three_digits(number)


def number(value: float) -> str:
    """A number without a unit."""
    return f"{value:.4g}" if math.isfinite(value) else NONE


def size(size_bytes: float) -> str:
    """Bytes in binary units."""
    unit = 0
    while size_bytes >= 1024 and unit < len(_SIZES) - 1:
        size_bytes, unit = size_bytes / 1024, unit + 1
    return f"{_three_digits(size_bytes)} {_SIZES[unit]}"


def moment(unix_s: float, *, day: bool = True) -> str:
    """A time in UTC, to the second."""
    at = dt.datetime.fromtimestamp(unix_s, dt.UTC)
    return at.strftime("%Y-%m-%d %H:%M:%S" if day else "%H:%M:%S")


def iso(unix_s: float) -> str:
    """A time for a machine."""
    return dt.datetime.fromtimestamp(unix_s, dt.UTC).isoformat()


def clock_ns(unix_ns: int) -> str:
    """Time of day in UTC, to the microsecond."""
    return f"{moment(unix_ns // 10**9, day=False)}.{unix_ns % 10**9 // 1000:06d}"
