"""Settings of the log on Kafka, which both its writing and its reading side use."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from schemas.settings import MIB, Section
from schemas.signals import NAMES, Signal

# A fetch of this many bytes holds some twenty records of a large request each.
_FETCH_BYTES = 8 * MIB


class KafkaSettings(Section):
    """The log on Kafka. Without bootstrap servers the embedded log is used, and nothing here counts."""

    bootstrap_servers: tuple[str, ...] = Field(
        (), description="Brokers to begin with, `host:port` each. Empty: the embedded log on this machine instead."
    )
    group: str = Field(
        "sluiceway",
        pattern=r"^[A-Za-z0-9._-]{1,150}$",
        description="Prefix of the consumer groups; each topic has its own, `<group>.<topic>`, so that a rebalance of "
        "one signal leaves the others alone.",
    )
    traces_topic: str = Field(
        NAMES[Signal.TRACES].topic, pattern=r"^[A-Za-z0-9._-]{1,240}$", description="Topic of spans."
    )
    metrics_topic: str = Field(
        NAMES[Signal.METRICS].topic, pattern=r"^[A-Za-z0-9._-]{1,240}$", description="Topic of metrics."
    )
    logs_topic: str = Field(
        NAMES[Signal.LOGS].topic, pattern=r"^[A-Za-z0-9._-]{1,240}$", description="Topic of log records."
    )
    partitions: int = Field(
        12, ge=1, le=10_000, description="Partitions of a topic that we create; existing topics keep theirs."
    )
    replication_factor: int = Field(
        3, ge=1, le=32, description="Replicas of a topic that we create. 1 only where one broker is all there is."
    )
    min_insync_replicas: int = Field(
        2,
        ge=1,
        le=32,
        description="Replicas that must have a record before it is acknowledged, of a topic that we create.",
    )
    retention_s: int = Field(
        24 * 3600,
        ge=3600,
        description="How long a topic that we create keeps records, seconds: how long the store may be away.",
    )
    max_message_bytes: int = Field(
        5 * MIB,
        ge=64 * 1024,
        le=256 * MIB,
        description="`max.message.bytes` of a topic that we create. An existing topic's own bound is what records are "
        "split by.",
    )
    compression: Literal["lz4", "zstd", "gzip", "none"] = Field(
        "lz4", description="Compression of what we append. Measured cheapest: lz4."
    )
    partition_by: Literal["balanced", "trace"] = Field(
        "balanced",
        description="`balanced` spreads records evenly; `trace` splits requests by trace id, so that all spans of a "
        "trace are on one partition.",
    )
    max_in_flight_bytes: int = Field(
        64 * MIB,
        ge=1 * MIB,
        description="Bytes handed to the client that no broker has acknowledged; over it appends are refused with a "
        "retry hint, but for the only one of its topic. The client itself has no bound.",
    )
    delivery_timeout_s: float = Field(
        120.0,
        gt=0,
        le=600,
        description="How long an append is tried, retries included, before it has failed, with an outcome that nobody "
        "knows. Clients are answered after `ingest.append_timeout_s`; what is longer here becomes known later, and "
        "then what they send again is not stored twice.",
    )
    request_timeout_s: float = Field(10.0, gt=0, le=300, description="How long a broker may take to answer, seconds.")
    fetch_bytes: int = Field(
        _FETCH_BYTES,
        ge=64 * 1024,
        le=256 * MIB,
        description="Most bytes of one partition in one answer of a broker; it is raised to the topic's bound on one "
        "record.",
    )
    buffer_bytes: int = Field(
        64 * MIB,
        ge=1 * MIB,
        description="Bytes read ahead by a consumer of one signal; over it partitions are paused.",
    )
    session_timeout_s: float = Field(
        30.0, ge=1, le=1800, description="After how long without a heartbeat a member loses its partitions, seconds."
    )
    max_poll_interval_s: float = Field(
        300.0,
        ge=1,
        le=86400,
        description="After how long within one batch a member loses its partitions, seconds.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT", description="How connections to brokers are protected."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="SASL mechanism, with SASL_PLAINTEXT and SASL_SSL."
    )
    sasl_username: str | None = Field(None, description="SASL user name.")
    sasl_password_file: Path | None = Field(
        None, description="File that holds the SASL password; read when a connection is configured, never shown."
    )
    ssl_cafile: Path | None = Field(None, description="Certificates of the authorities that signed the brokers'.")
    ssl_certfile: Path | None = Field(None, description="Our client certificate, where brokers ask for one.")
    ssl_keyfile: Path | None = Field(None, description="The key of our client certificate.")

    @property
    def enabled(self) -> bool:
        """Whether the log is on Kafka."""
        return bool(self.bootstrap_servers)

    @property
    def connect_timeout_s(self) -> float:
        """How long to look for brokers and topics, seconds: nothing of an append is under way meanwhile."""
        return min(self.delivery_timeout_s, 2 * self.request_timeout_s)

    def topic(self, signal: Signal) -> str:
        """The topic of a signal."""
        return {
            Signal.TRACES: self.traces_topic,
            Signal.METRICS: self.metrics_topic,
            Signal.LOGS: self.logs_topic,
        }[signal]

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.security_protocol.startswith("SASL") and not (
            self.sasl_mechanism and self.sasl_username and self.sasl_password_file
        ):
            raise ValueError(
                f"security_protocol {self.security_protocol} needs sasl_mechanism, sasl_username and sasl_password_file"
            )
        if self.min_insync_replicas > self.replication_factor:
            raise ValueError(
                f"min_insync_replicas must be at most replication_factor {self.replication_factor}; got "
                f"{self.min_insync_replicas}"
            )
        if len({self.traces_topic, self.metrics_topic, self.logs_topic}) < len(Signal):
            raise ValueError(
                "traces_topic, metrics_topic and logs_topic must differ; got "
                f"{self.traces_topic!r}, {self.metrics_topic!r}, {self.logs_topic!r}"
            )
        return self
