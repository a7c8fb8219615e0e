"""How long to wait before trying again: exponential, with full jitter, within a budget of retries.

Jitter spreads callers that failed together. The budget is for the case in which all of them fail for long: retries may
be a share of the calls that succeed; once it is spent every wait is of the longest, so that a peer that comes back
half-way is not pushed over by those who waited for it.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

_LEAST_S = 0.01


@dataclass(frozen=True, slots=True)
class BackoffPolicy:
    """What is waited between attempts.

    Attributes:
        first_s: bound of the first wait, seconds; it doubles with each attempt.
        max_s: bound of every wait, seconds.
        budget_share: how many retries each success earns.
        budget_retries: how many retries may be saved up, and how many there are at the start.
    """

    first_s: float = 0.2
    max_s: float = 30.0
    budget_share: float = 0.2
    budget_retries: float = 10.0


class Backoff:
    """The waits of one caller. Used by one thread; `budget_left` may be read by any.

    Attributes:
        attempt: failures since the last success.
        budget_left: retries that may still be made at their usual pace.
    """

    def __init__(
        self,
        policy: BackoffPolicy,
        *,
        uniform: Callable[[float, float], float] = random.uniform,
        on_spent: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_spent` is called for each retry that had to wait longer because the budget was spent."""
        self._policy = policy
        self._uniform = uniform
        self._on_spent = on_spent
        self.attempt = 0
        self.budget_left = policy.budget_retries

    def succeeded(self) -> None:
        """A call went well: the next failure is a first one."""
        self.attempt = 0
        self.budget_left = min(self.budget_left + self._policy.budget_share, self._policy.budget_retries)

    def went_on(self) -> None:
        """There was nothing to call, and nothing failed: the next failure is a first one, but no retry was earned."""
        self.attempt = 0

    def failed(self, hint_s: float = 0.0) -> float:
        """A call failed; returns the seconds to wait before the next, at most `max_s`.

        Args:
            hint_s: how long the peer asked us to wait; the wait is at least that, as far as `max_s` allows.
        """
        policy = self._policy
        self.attempt += 1
        if self.budget_left >= 1:
            self.budget_left -= 1
            least_s = min(hint_s, policy.max_s)
            # Bounded, or the power overflows after a day of attempts.
            most_s = min(policy.max_s, least_s + policy.first_s * 2 ** min(self.attempt - 1, 32))
        else:
            self._on_spent()
            # Half of it is fixed: with full jitter alone some would come back at once.
            least_s, most_s = max(policy.max_s / 2, min(hint_s, policy.max_s)), policy.max_s
        return max(_LEAST_S, self._uniform(least_s, most_s))
