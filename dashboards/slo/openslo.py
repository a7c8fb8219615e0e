"""The part of OpenSLO v1 that is supported, as models; whatever else a file says is refused.

Source: github.com/OpenSLO/OpenSLO, specification v1. Its `metricSource.spec` is for each product to define: ours names
what is counted in the rollups of spans. What it has no place for is in annotations that begin with `sluiceway/`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from dashboards.slo.burn_rates import BURN_RATES, DAY_S
from dashboards.slo.objective import ENTRY_KINDS, MIN_FAILURES, Kind

_UNIT_DAYS = {"d": 1, "w": 7}
_DURATION = re.compile(r"([1-9]\d{0,2})([dw])")
_SHORTEST_DAYS, _LONGEST_DAYS = 7, 90
_PAIRS = tuple(pair.name for pair in BURN_RATES)
_BURN_RATES, _MIN_FAILURES = "sluiceway/burn-rates", "sluiceway/min-failures"
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Spec(_Part):
    """What of a service's spans is counted."""

    measure: Literal["calls", "failed", "succeeded", "duration"]
    kinds: tuple[Kind, ...] = Field(ENTRY_KINDS, min_length=1)
    operation: str = ""
    environment: str = ""
    tenant: str = ""

    @property
    def calls(self) -> tuple[object, ...]:
        """Which calls; the measure left out."""
        return (self.kinds, self.operation, self.environment, self.tenant)


class MetricSource(_Part):
    """Where a metric comes from."""

    type: Literal["sluiceway"]
    spec: Spec


class Metric(_Part):
    """One metric."""

    metric_source: MetricSource = Field(alias="metricSource")

    @property
    def spec(self) -> Spec:
        """What it counts."""
        return self.metric_source.spec


class RatioMetric(_Part):
    """Good or bad calls of all."""

    counter: Literal[True]
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric

    @model_validator(mode="after")
    def _is_a_share_of_calls(self) -> Self:
        if (self.good is None) == (self.bad is None):
            raise ValueError("must have one of good and bad")
        if self.total.spec.measure != "calls":
            raise ValueError(f"total must measure calls, received {self.total.spec.measure}")
        for name, metric, measure in (("good", self.good, "succeeded"), ("bad", self.bad, "failed")):
            if metric is not None and metric.spec.measure != measure:
                raise ValueError(f"{name} must measure {measure}, received {metric.spec.measure}")
            if metric is not None and metric.spec.calls != self.total.spec.calls:
                raise ValueError(f"{name} and total must be of the same kinds, operation, environment and tenant")
        return self


class IndicatorSpec(_Part):
    """A ratio, or a metric with a threshold."""

    ratio_metric: RatioMetric | None = Field(None, alias="ratioMetric")
    threshold_metric: Metric | None = Field(None, alias="thresholdMetric")
    description: str = ""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.ratio_metric is None) == (self.threshold_metric is None):
            raise ValueError("must have one of ratioMetric and thresholdMetric")
        if self.threshold_metric is not None and self.threshold_metric.spec.measure != "duration":
            raise ValueError(f"thresholdMetric must measure duration, received {self.threshold_metric.spec.measure}")
        return self

    @property
    def calls(self) -> Spec:
        """Which calls it is about."""
        return self.ratio_metric.total.spec if self.ratio_metric else self.threshold_metric.spec  # type: ignore[union-attr]


class Metadata(_Part):
    """A document's name."""

    name: Name
    display_name: str = Field("", alias="displayName")
    labels: dict[str, str | list[str]] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)

    @field_validator("annotations")
    @classmethod
    def _ours_are_known(cls, annotations: dict[str, str]) -> dict[str, str]:
        for name, value in annotations.items():
            if name.startswith("sluiceway/") and name not in (_BURN_RATES, _MIN_FAILURES):
                raise ValueError(f"must be {_BURN_RATES} or {_MIN_FAILURES}, received {name}")
            if name == _MIN_FAILURES and not re.fullmatch(r"[1-9]\d{0,8}", value):
                raise ValueError(f"{name} must be a whole number from 1 on, received {value!r}")
            if name == _BURN_RATES and (wrong := [each for each in _split(value) if each not in _PAIRS]):
                raise ValueError(f"{name} must be some of {', '.join(_PAIRS)}, received {wrong[0]!r}")
        return annotations

    @property
    def min_failures(self) -> int:
        """Bad calls from which on a pair of windows may fire."""
        return int(self.annotations.get(_MIN_FAILURES, MIN_FAILURES))

    @property
    def burn_rates(self) -> tuple[str, ...]:
        """Names of the pairs of windows that alert."""
        return _split(self.annotations[_BURN_RATES]) if _BURN_RATES in self.annotations else _PAIRS


class Indicator(_Part):
    """An indicator: a document of kind SLI, or inside an SLO."""

    api_version: Literal["openslo/v1"] | None = Field(None, alias="apiVersion")
    kind: Literal["SLI"] | None = None
    metadata: Metadata
    spec: IndicatorSpec


class TimeWindow(_Part):
    """The period of a budget."""

    duration: str
    is_rolling: Literal[True] = Field(alias="isRolling")

    @field_validator("duration")
    @classmethod
    def _is_a_period(cls, duration: str) -> str:
        match = _DURATION.fullmatch(duration)
        days = int(match[1]) * _UNIT_DAYS[match[2]] if match else 0
        if not _SHORTEST_DAYS <= days <= _LONGEST_DAYS:
            raise ValueError(f"must be {_SHORTEST_DAYS}d to {_LONGEST_DAYS}d, in days or weeks (4w), not {duration!r}")
        return duration

    @property
    def seconds(self) -> int:
        """Its length."""
        return int(self.duration[:-1]) * _UNIT_DAYS[self.duration[-1]] * DAY_S


class ObjectivePart(_Part):
    """A target; `op` and `value` (seconds) with a threshold metric."""

    display_name: str = Field("", alias="displayName")
    target: float = Field(gt=0, lt=1)
    op: Literal["lte", "lt"] | None = None
    value: float | None = Field(None, ge=1e-6, le=86_400)


class SloSpec(_Part):
    """What an SLO is."""

    description: str = ""
    service: str = Field(min_length=1)
    indicator: Indicator | None = None
    indicator_ref: Name | None = Field(None, alias="indicatorRef")
    time_window: tuple[TimeWindow, ...] = Field(alias="timeWindow", min_length=1, max_length=1)
    budgeting_method: Literal["Occurrences"] = Field(alias="budgetingMethod")
    objectives: tuple[ObjectivePart, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _has_one_indicator(self) -> Self:
        if (self.indicator is None) == (self.indicator_ref is None):
            raise ValueError("must have one of indicator and indicatorRef")
        return self


class Slo(_Part):
    """A document of kind SLO."""

    api_version: Literal["openslo/v1"] = Field(alias="apiVersion")
    kind: Literal["SLO"]
    metadata: Metadata
    spec: SloSpec


def _split(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())
