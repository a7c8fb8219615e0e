"""Settings of the processors: how records become batches, and when a consumer stops rather than dead-letter a flood."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from processors.guard.rules import RedactionRule
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
    busy_rows: int = Field(
        5_000,
        ge=1,
        le=1_000_000,
        description="Items with which a batch at its `max_age_s` stays open while more keeps coming: under load, and "
        "over many partitions, parts of some thousand rows would cost the store several times as much.",
    )
    busy_max_age_s: float = Field(
        5.0, gt=0, le=300, description="Seconds after its first record at which a busy batch is closed in any case."
    )
    retry_first_s: float = Field(
        0.2,
        gt=0,
        le=60,
        description="Longest first wait between two attempts to write a batch, seconds; it doubles with each attempt, "
        "and the wait is drawn from nothing to it (full jitter), on top of what the store asked for.",
    )
    retry_max_s: float = Field(
        30.0,
        gt=0,
        description="Longest wait between two attempts to write a batch, seconds. Attempts never end.",
    )
    retry_budget_share: float = Field(
        0.2,
        ge=0,
        le=1,
        description="Retries that each stored batch earns. While the budget is spent every wait is at least half of "
        "`retry_max_s`.",
    )
    retry_budget_retries: float = Field(
        10, ge=0, description="Retries that a signal may save up, and that it has at the start."
    )
    circuit_failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="Inserts in a row that the store must fail before the signal's circuit to it opens: it is then not "
        "asked until its time is over.",
    )
    circuit_open_s: float = Field(
        1.0,
        gt=0,
        le=600,
        description="How long the circuit to the store stays open at first, seconds; then one insert is tried, and "
        "each that fails doubles the time.",
    )
    circuit_open_max_s: float = Field(
        30.0, gt=0, le=3600, description="How long the circuit to the store stays open at most, seconds."
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


class GuardSettings(Section):
    """What is changed between decoding and writing: values that must not be stored, and series beyond a budget."""

    redaction: tuple[RedactionRule, ...] = Field(
        (), description="Rules, applied in order to every batch. `sluiceway redaction preview` shows what they change."
    )
    hash_key_file: Path | None = Field(
        None,
        description="File with the key of rules that hash, at least 16 bytes (white space around it is left out); all "
        "processes need the same one. Another key gives other hashes.",
    )
    series_budgets: bool = Field(
        True, description="Count the series of metrics and fold those that are over the budgets below."
    )
    metric_series: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Attribute sets that one metric of one service may have in an hour; points of others are folded.",
    )
    service_series: int = Field(
        100_000, ge=1, le=10_000_000, description="The same for all metrics of one service together."
    )
    tenant_series: int = Field(
        1_000_000, ge=1, le=10_000_000, description="The same for all services of one tenant together."
    )

    @model_validator(mode="after")
    def _agree(self) -> Self:
        names = [rule.name for rule in self.redaction]
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"redaction: names of rules must differ; received {repeated!r} twice")
        hashing = next((rule.name for rule in self.redaction if rule.action == "hash"), None)
        if hashing and self.hash_key_file is None:
            raise ValueError(f"hash_key_file: must be set for rules that hash; rule {hashing!r} does")
        return self


class ServiceMapSettings(Section):
    """How the edges of the service map are made from stored spans."""

    enabled: bool = Field(True, description="Make them, in every process that stores spans; they share the work.")
    interval_s: float = Field(
        15.0,
        ge=1,
        le=3600,
        description="Seconds after which a minute that got more spans is looked at again. It takes longer where the "
        "work would be more than a tenth of a CPU.",
    )
    call_window_s: float = Field(
        300.0,
        ge=60,
        le=3600,
        description="How long before its Server span a call may have begun, seconds, in whole minutes.",
    )
    message_window_s: float = Field(
        3600.0,
        ge=60,
        le=86_400,
        description="How long before its Consumer span a message may have been sent, seconds, in whole minutes.",
    )
    run_spans: int = Field(
        5_000_000, ge=1000, description="Spans of the minutes that are settled together; one minute in any case."
    )
    max_memory_bytes: int = Field(
        400 * MIB, ge=64 * MIB, description="Memory that one of its statements may take in the store; the rest spills."
    )
