"""Settings that more than one package needs: the log, the store, retention."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MIB = 1024 * 1024
GIB = 1024 * MIB


class Section(BaseModel):
    """Base of every group of settings: unknown names are refused, values are fixed after start."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class LogSettings(Section):
    """The embedded log."""

    path: Path | None = Field(
        None, description="File of the embedded log; none means `log/log.sqlite` in the data folder."
    )
    max_bytes: int = Field(
        20 * GIB,
        ge=64 * MIB,
        description="Size bound of the log on disk, bytes. Records already stored are deleted to "
        "stay below it; what is not yet stored never is: then new requests are refused with 503 / UNAVAILABLE.",
    )
    max_record_bytes: int = Field(
        4 * MIB, ge=64 * 1024, le=256 * MIB, description="Largest record, bytes. Larger requests are split."
    )
    retention_s: float = Field(
        6 * 3600, ge=0, description="How long records are kept after they were stored, seconds. 0 deletes at once."
    )


class StoreSettings(Section):
    """The ClickHouse server, embedded or named by the operator."""

    database: str = Field("otel", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Database of all our tables.")
    binary: Path | None = Field(
        None,
        description="A `clickhouse` binary to run instead of the server in the chdb-core wheel; none means the wheel.",
    )
    host: str = Field("127.0.0.1", description="Address that the store listens on.")
    http_port: int = Field(8123, ge=1, le=65535, description="ClickHouse HTTP port.")
    native_port: int | None = Field(None, ge=1, le=65535, description="ClickHouse native TCP port; none means closed.")
    max_memory_bytes: int = Field(
        700 * MIB,
        ge=256 * MIB,
        description="Bound on the memory of the store for all queries, inserts and merges, bytes.",
    )
    reader_max_memory_bytes: int = Field(
        256 * MIB, ge=16 * MIB, description="Bound on one query of the read-only user, bytes; it cannot lift it."
    )
    reader_max_execution_s: int = Field(
        30, ge=1, description="Bound on one query of the read-only user, seconds; it can lower it, not lift it."
    )
    reader_max_threads: int = Field(2, ge=1, description="Threads of one query of the read-only user.")
    start_timeout_s: float = Field(60, gt=0, description="How long the store may take to become ready, seconds.")
    stop_timeout_s: float = Field(
        15, gt=0, description="How long an orderly stop may take before the child is killed, seconds."
    )


class RetentionSettings(Section):
    """How long the store keeps each signal, days. A row older than this is deleted within a further day."""

    traces_days: int = Field(7, ge=1, le=3650, description="Spans and the trace index, days.")
    logs_days: int = Field(7, ge=1, le=3650, description="Log records, days.")
    metrics_days: int = Field(30, ge=1, le=3650, description="Metric data points, days.")
    rollups_days: int = Field(90, ge=1, le=3650, description="One-minute rollups, days.")
