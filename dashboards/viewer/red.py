"""Rate, errors and duration of services, and the one word that says how each is doing."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from dashboards.settings import ViewerSettings
from dashboards.store import Row, StoreReader
from dashboards.viewer.charts import Values
from dashboards.viewer.window import MINUTE_S, Window

SETTLE_S = 15
"""A step younger than this shows no rate: exporters send in batches, so that it would read as a drop."""


class State(enum.IntEnum):
    """How a service is doing in the recent window, worst first."""

    FAILING = 0
    SLOW = 1
    DEGRADED = 2
    OK = 3
    QUIET = 4


@dataclass(frozen=True, slots=True)
class Series:
    """A value a step of the window: calls a second, failed share, and p50, p95, p99 in ns; None where there is none."""

    rate: Values
    errors: Values
    p50: Values
    p95: Values
    p99: Values


@dataclass(frozen=True, slots=True)
class ServiceRed:
    """One service over a window. Durations in ns; `rate` is calls a second since the service was first seen in it."""

    name: str
    state: State
    why: str
    calls: int
    failed: int
    rate: float
    p50: float | None
    p95: float | None
    p99: float | None
    last_seen_s: int
    series: Series

    @property
    def error_ratio(self) -> float:
        """Failed calls of all calls."""
        return self.failed / self.calls if self.calls else 0.0


async def services(
    store: StoreReader, window: Window, settings: ViewerSettings, *, service: str = ""
) -> list[ServiceRed]:
    """Every service with spans in the window (or just `service`), the worst first."""
    rows = await store.ask(
        "services",
        {
            "from_s": window.from_s,
            "to_s": window.to_s,
            "step_s": window.step_s,
            "recent_from_s": recent_from_s(window, settings),
            "service": service,
        },
    )
    found = [_read(row, window, settings) for row in rows]
    return sorted(found, key=lambda red: (red.state, -red.error_ratio if red.state is State.FAILING else 0, red.name))


def recent_from_s(window: Window, settings: ViewerSettings) -> int:
    """Where the recent window begins, on a whole minute, Unix seconds."""
    end = min(window.now_s, window.to_s)
    return max(int(end - settings.recent_s) // MINUTE_S * MINUTE_S, 0)


def _read(row: Row, window: Window, settings: ViewerSettings) -> ServiceRed:
    state, why = _judge(row, settings)
    return ServiceRed(
        name=row["ServiceName"],
        state=state,
        why=why,
        calls=row["Calls"],
        failed=row["Errors"],
        rate=row["Calls"] / window.covered_s(row["FirstSeen"]),
        p50=row["P50"],
        p95=row["P95"],
        p99=row["P99"],
        last_seen_s=row["LastSeen"] + MINUTE_S,
        series=_series(row["Series"], window),
    )


def _judge(row: Row, settings: ViewerSettings) -> tuple[State, str]:
    if not row["RecentCalls"]:
        return State.QUIET, f"no calls in the last {settings.recent_s // 60} min"
    ratio = row["RecentErrors"] / row["RecentCalls"]
    failing = f"{ratio:.1%} of recent calls fail"
    if ratio >= settings.red_error_ratio:
        return State.FAILING, failing
    recent, earlier = row["RecentP95"], row["EarlierP95"]
    if recent is not None and earlier is not None and recent >= settings.slow_factor * earlier:
        return State.SLOW, f"recent p95 is {recent / earlier:.1f}x that before"
    if ratio >= settings.amber_error_ratio:
        return State.DEGRADED, failing
    return State.OK, "recent calls succeed" if not row["RecentErrors"] else failing


def _series(points: list[tuple[Any, ...]], window: Window) -> Series:
    by_step = {point[0]: point[1:] for point in points}
    steps = [(step, by_step.get(step)) for step in window.steps]
    first = min(by_step, default=window.to_s)

    def rate(step: int, calls: int | None) -> float | None:
        if window.now_s - step < SETTLE_S:
            return None
        if calls is None:
            return 0.0 if first < step else None
        return float(calls / window.covered_s(step, step + window.step_s))

    return Series(
        rate=[rate(step, point[0] if point else None) for step, point in steps],
        errors=[point[1] / point[0] if point else None for _, point in steps],
        p50=[point[2] if point else None for _, point in steps],
        p95=[point[3] if point else None for _, point in steps],
        p99=[point[4] if point else None for _, point in steps],
    )
