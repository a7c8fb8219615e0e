"""One objective, and objectives as a literal in SQL: a rule that Grafana evaluates has no parameters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Literal

from dashboards.alerts.rule import Severity
from dashboards.grafana.macros import text_literal
from dashboards.slo.burn_rates import ABSOLUTES, BURN_RATES, BurnRate
from schemas import sql

Kind = Literal["Server", "Consumer", "Client", "Producer", "Internal"]
ENTRY_KINDS: tuple[Kind, ...] = ("Server", "Consumer")
# A pair fires from so many bad calls in its long window on: one failed call at night is nobody's page.
MIN_FAILURES = 5
_BUCKETS_OF_TWO = 8
_TYPE = (
    "Array(Tuple(slo String, service String, tenant String, environment String, operation String, kinds Array(String),"
    " fast_below Int32, target Float64, period_s UInt32, min_failures UInt64,"
    " pairs Array(Tuple(name String, long_s UInt32, short_s UInt32, share Float64))))"
)


@dataclass(frozen=True, slots=True)
class Objective:
    """A share of calls that must be good over a rolling period.

    Attributes:
        name: identifies it; never changes.
        target: share of good calls, above 0 and below 1.
        period_s: of the budget, seconds.
        environment, operation: only calls with them; '' is all.
        kinds: kinds of spans that count as calls.
        threshold_ns: good calls end within it; None: good calls do not fail.
        burn_rates: the pairs that alert.
        min_failures: bad calls in a pair's long window from which on it may fire.
    """

    name: str
    title: str
    service: str
    target: float
    period_s: int
    tenant: str = ""
    environment: str = ""
    operation: str = ""
    kinds: Sequence[Kind] = ENTRY_KINDS
    threshold_ns: int | None = None
    burn_rates: Sequence[BurnRate] = BURN_RATES
    min_failures: int = MIN_FAILURES

    @property
    def fast_below(self) -> int:
        """Calls in duration buckets below this one are within the threshold; -1 without one.

        Bucket i covers 2^(i/8) to 2^((i+1)/8) ns, so a threshold is moved to the nearest bound, by 4.4 % at most.
        """
        return -1 if self.threshold_ns is None else round(_BUCKETS_OF_TWO * math.log2(self.threshold_ns))

    @property
    def measured_threshold_ns(self) -> float | None:
        """The threshold that calls are held to."""
        return None if self.threshold_ns is None else 2 ** (self.fast_below / _BUCKETS_OF_TWO)

    def pairs(self, severity: Severity) -> list[tuple[str, int, int, float]]:
        """Name, long and short window (seconds), and the share of bad calls above which both must be."""
        burning = [
            (pair.name, pair.long_s, pair.short_s, round(pair.factor(self.period_s) * (1 - self.target), 12))
            for pair in self.burn_rates
            if pair.severity == severity
        ]
        return burning + [
            (pair.name, pair.long_s, pair.short_s, pair.share) for pair in ABSOLUTES if pair.severity == severity
        ]


def query(name: str, objectives: Iterable[Objective], severity: Severity = "page") -> str:
    """The SQL of `sql/NAME.sql` over these objectives, with the pairs of a severity."""
    rows = ", ".join(_row(objective, severity) for objective in objectives)
    folder = resources.files("dashboards").joinpath("slo", "sql")
    return sql.read(folder, name).strip().replace("{objectives}", f"CAST([{rows}] AS {_TYPE})")


def _row(of: Objective, severity: Severity) -> str:
    kinds = ", ".join(text_literal(kind) for kind in of.kinds)
    pairs = ", ".join(
        f"({text_literal(name)}, {long}, {short}, {share!r})" for name, long, short, share in of.pairs(severity)
    )
    texts = ", ".join(text_literal(text) for text in (of.name, of.service, of.tenant, of.environment, of.operation))
    return f"({texts}, [{kinds}], {of.fast_below}, {of.target!r}, {of.period_s}, {of.min_failures}, [{pairs}])"
