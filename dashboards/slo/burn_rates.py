"""How fast an error budget may burn, over which pairs of windows.

The pairs and the shares of the budget are those of The Site Reliability Workbook (Google, 2018), chapter 5, "Alerting
on SLOs", section "Multiwindow, Multi-Burn-Rate Alerts": its table has 2 % in 1 h, 5 % in 6 h and 10 % in 3 d, its rules
add 10 % in 1 d. A burn rate of 1 spends the budget exactly at the end of its period; rates of a 30-day period come out
as 14.4, 6, 3 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.alerts.rule import Severity

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


@dataclass(frozen=True, slots=True)
class BurnRate:
    """Both windows must burn faster: the long one makes sure that it matters, the short one that it still goes on.

    Attributes:
        budget_share: of a period's budget, spent in the long window at this rate.
    """

    name: str
    severity: Severity
    long_s: int
    short_s: int
    budget_share: float

    def factor(self, period_s: int) -> float:
        """The burn rate itself."""
        return self.budget_share * period_s / self.long_s


BURN_RATES: Sequence[BurnRate] = (
    BurnRate("1h/5m", "page", HOUR_S, 5 * MINUTE_S, 0.02),
    BurnRate("6h/30m", "page", 6 * HOUR_S, 30 * MINUTE_S, 0.05),
    BurnRate("1d/2h", "ticket", DAY_S, 2 * HOUR_S, 0.10),
    BurnRate("3d/6h", "ticket", 3 * DAY_S, 6 * HOUR_S, 0.10),
)


@dataclass(frozen=True, slots=True)
class Absolute:
    """More than half of all calls fail in both windows: what pages where there are too few calls for the short
    windows of burn rates, which then are empty nearly always."""

    name: str
    severity: Severity
    long_s: int
    short_s: int
    share: float = 0.5


ABSOLUTES: Sequence[Absolute] = (
    Absolute("6h absolute", "page", 6 * HOUR_S, 6 * HOUR_S),
    Absolute("3d/1d absolute", "ticket", 3 * DAY_S, DAY_S),
)
