"""When requests arrive, and when the bad release is rolled out: a day of a shop, compressed into minutes."""

from __future__ import annotations

import math
from dataclasses import dataclass

DAY_S = 600.0
_SHORTEST_DAY_S = 20.0


@dataclass(frozen=True, slots=True)
class Rhythm:
    """The course of one run.

    Attributes:
        day_s: how long a day of the shop takes, seconds.
        release_at_s: when the first instance runs the bad release, seconds after the start.
        release_step_s: time between one instance and the next, seconds.
    """

    day_s: float
    release_at_s: float
    release_step_s: float

    @classmethod
    def of(cls, duration_s: float | None) -> Rhythm:
        """A run shorter than a day shows one whole day, so that every run has its valley, its peak and the release."""
        day_s = DAY_S if duration_s is None else min(DAY_S, max(_SHORTEST_DAY_S, duration_s))
        run_s = day_s if duration_s is None else min(day_s, duration_s)
        return cls(day_s=day_s, release_at_s=0.5 * run_s, release_step_s=0.06 * run_s)

    def level(self, elapsed_s: float) -> float:
        """Traffic as a share of its mean over a day: a night valley, an afternoon peak; always above 0.4."""
        turn = 2 * math.pi * (elapsed_s / self.day_s)
        return 1 - 0.45 * math.cos(turn) - 0.2 * math.sin(2 * turn)

    def hour(self, elapsed_s: float) -> float:
        """The shop's hour of the day, 0 to 24."""
        return 24 * ((elapsed_s / self.day_s) % 1.0)

    def released(self, elapsed_s: float) -> int:
        """How many instances should run the bad release by now."""
        if elapsed_s < self.release_at_s:
            return 0
        return 1 + int((elapsed_s - self.release_at_s) / self.release_step_s)
