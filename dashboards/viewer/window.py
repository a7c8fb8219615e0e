"""The stretch of time that a page shows, as its address says it: `?from=now-15m&to=now`."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from urllib.parse import urlencode

RANGES: dict[str, str] = {"15m": "15 min", "1h": "1 hour", "6h": "6 hours", "24h": "24 hours", "7d": "7 days"}
DEFAULT_FROM = "now-15m"
MINUTE_S = 60
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?", re.ASCII)
_STEPS_S = tuple(minutes * MINUTE_S for minutes in (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440))
_POINTS_MAX = 75
_LATEST_S = 2**32 - 1 - 86400


class WindowError(ValueError):
    """`from` or `to` cannot be read; the message names field, rule and value."""


@dataclass(frozen=True, slots=True)
class Window:
    """Whole steps from `from_s` to `to_s` (Unix seconds, end excluded), and the texts they were asked for with.

    The rollups count by minute and by the start of the span, so the step is a multiple of 60 s.
    """

    from_text: str
    to_text: str
    from_s: int
    to_s: int
    step_s: int
    now_s: float

    @property
    def live(self) -> bool:
        """Whether the window moves with the clock."""
        return self.to_text == "now"

    @property
    def steps(self) -> range:
        """The start of each step, Unix seconds."""
        return range(self.from_s, self.to_s, self.step_s)

    @property
    def query(self) -> str:
        """The window as the query part of an address."""
        return urlencode({"from": self.from_text, "to": self.to_text})

    def covered_s(self, start_s: float, end_s: float | None = None) -> float:
        """Seconds of [start_s, end_s) that lie in the window and not in the future; at least one."""
        end = min(self.to_s if end_s is None else end_s, self.to_s, self.now_s)
        return max(end - max(start_s, self.from_s), 1.0)


def parse(from_text: str | None, to_text: str | None, now_s: float) -> Window:
    """The window of an address. Each end is `now`, `now-15m` (s, m, h, d, w), Unix milliseconds or an ISO 8601 time.

    Raises:
        WindowError: an end cannot be read, or the window is empty.
    """
    from_text, to_text = (from_text or DEFAULT_FROM).strip(), (to_text or "now").strip()
    start, end = _moment("from", from_text, now_s), _moment("to", to_text, now_s)
    if start >= end:
        raise WindowError(f"from must be earlier than to; got from={from_text!r}, to={to_text!r}")
    step_s = next((step for step in _STEPS_S if (end - start) / step <= _POINTS_MAX), None)
    if step_s is None:
        step_s = -int(-(end - start) // _POINTS_MAX // 86400) * 86400
    return Window(
        from_text, to_text,
        from_s=int(start // step_s * step_s),
        to_s=int(-(-end // step_s) * step_s),
        step_s=step_s,
        now_s=now_s,
    )  # fmt: skip


def _moment(field: str, text: str, now_s: float) -> float:
    moment = _read_moment(text, now_s)
    if moment is None or not 0 <= moment <= _LATEST_S:
        raise WindowError(
            f"{field} must be now, now-15m (s, m, h, d or w), Unix milliseconds or an ISO 8601 time; got {text[:80]!r}"
        )
    return moment


def _read_moment(text: str, now_s: float) -> float | None:
    if relative := _RELATIVE.fullmatch(text):
        return now_s - int(relative[1] or 0) * _UNIT_S[relative[2] or "s"]
    if text.isascii() and text.isdigit():
        return int(text[:20]) / 1000
    try:
        moment = dt.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
