"""Settings of the processors: how records become batches, and when a consumer stops rather than dead-letter a flood."""

from __future__ import annotations

from pydantic import Field

from schemas.settings import MIB, Section


class BatchSettings(Section):
    """When a batch is closed: at the first of the three bounds. A batch is one block and one part per table."""

    max_rows: int = Field(
        100_000,
        ge=1,
        le=1_000_000,
        description="Items after which a batch is closed. Parts of about this size keep merges cheap under load.",
    )
    max_bytes: int = Field(
        48 * MIB,
        ge=1 * MIB,
        le=256 * MIB,
        description="Bytes of records after which a batch is closed. A batch needs about five times this in memory.",
    )
    max_age_s: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Seconds after its first record at which a batch is closed: how stale data may be when idle.",
    )
    retry_max_s: float = Field(
        30.0,
        gt=0,
        description="Longest wait between two attempts to write a batch, seconds. Attempts never end.",
    )
    flood_records: int = Field(1000, ge=1, description="Records over which the share of bad ones is judged.")
    flood_min_bad: int = Field(
        100, ge=1, description="Bad records among the last `flood_records` below which the consumer never stops."
    )
    flood_share: float = Field(
        0.5,
        ge=0,
        le=1,
        description="Share of bad records among the last `flood_records` above which the consumer of the "
        "signal stops and leaves the records in the log, instead of dead-lettering everything. 1 never stops.",
    )
