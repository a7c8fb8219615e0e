"""Starter objectives out of what a service did: text of OpenSLO files to look over, not to trust."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from importlib import resources

from schemas import sql
from schemas.documents import dump_yaml

# The first that a service held with half of its budget left; a target that was never held pages from the first day.
_TARGETS = (0.9999, 0.9995, 0.999, 0.995, 0.99, 0.98, 0.95)
_LATENCY_TARGET = 0.99
_NS_PER_S = 1e9
_SPARE = 2.0


@dataclass(frozen=True, slots=True)
class Observed:
    """What a service did: calls into it, how many failed, and the 99th percentile of their durations (ns)."""

    service: str
    calls: int
    errors: int
    p99_ns: float


def question() -> str:
    """SQL of `Observed` rows; parameters `from_s` and `to_s`, Unix seconds."""
    folder = resources.files("dashboards")
    return sql.read(folder.joinpath("slo", "sql"), "observed", folder.joinpath("queries"))


def files(observed: Observed) -> dict[str, str]:
    """Texts by file name: an objective of failures, one of latency."""
    slug = re.sub(r"[^a-z0-9]+", "-", observed.service.lower()).strip("-")[:40] or "service"
    target = next((each for each in _TARGETS if observed.errors * _SPARE <= observed.calls * (1 - each)), _TARGETS[-1])
    threshold_s = _round_up(observed.p99_ns * _SPARE / _NS_PER_S)
    calls = {"metricSource": {"type": "sluiceway", "spec": {"measure": "calls"}}}
    failed = {"metricSource": {"type": "sluiceway", "spec": {"measure": "failed"}}}
    duration = {"metricSource": {"type": "sluiceway", "spec": {"measure": "duration"}}}
    share = observed.errors / observed.calls
    return {
        f"{slug}-availability.yaml": _text(
            f"# Proposed: {observed.calls} calls of the last days, of which {share:.3%} failed.",
            f"{slug}-availability",
            observed.service,
            {"ratioMetric": {"counter": True, "bad": failed, "total": calls}},
            {"displayName": f"{observed.service} answers", "target": target},
        ),
        f"{slug}-latency.yaml": _text(
            f"# Proposed: 99 % of {observed.calls} calls of the last days took {observed.p99_ns / 1e6:.3g} ms or less.",
            f"{slug}-latency",
            observed.service,
            {"thresholdMetric": duration},
            {
                "displayName": f"{observed.service} answers in time",
                "op": "lte",
                "value": threshold_s,
                "target": _LATENCY_TARGET,
            },
        ),
    }


def _text(why: str, name: str, service: str, indicator: dict[str, object], objective: dict[str, object]) -> str:
    document = {
        "apiVersion": "openslo/v1",
        "kind": "SLO",
        "metadata": {"name": name},
        "spec": {
            "service": service,
            "indicator": {"metadata": {"name": name}, "spec": indicator},
            "timeWindow": [{"duration": "30d", "isRolling": True}],
            "budgetingMethod": "Occurrences",
            "objectives": [objective],
        },
    }
    return f"{why}\n{dump_yaml(document, sort_keys=False, width=120)}"


def _round_up(seconds: float) -> float:
    """To 1, 2 or 5 times a power of ten, microseconds at least."""
    power = 10.0 ** math.floor(math.log10(max(seconds, 1e-6)))
    return float(f"{next(power * step for step in (1, 2, 5, 10) if power * step >= seconds * 0.999):.6g}")
