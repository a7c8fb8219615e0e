"""Settings of the wiring itself: what Sluiceway says about itself."""

from __future__ import annotations

from pydantic import Field

from schemas.settings import Section


class TelemetrySettings(Section):
    """What Sluiceway says about itself."""

    enabled: bool = Field(
        True, description="Write our own metrics and spans into the pipeline. /metrics is served either way."
    )
    interval_s: float = Field(
        10.0, ge=1, le=3600, description="Time between two exports of our own metrics and spans, seconds."
    )
