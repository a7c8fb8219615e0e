"""Settings that more than one package needs: the log, the store, retention."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MIB = 1024 * 1024
GIB = 1024 * MIB

_BASE_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?/?")


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


class StoreReader(Section):
    """A user of a server of the operator's that one part of ours reads as."""

    user: str = Field(min_length=1, description="Its name.")
    password_file: Path | None = Field(None, description="The file that holds its password; none means no password.")


class StoreSettings(Section):
    """The ClickHouse server, embedded or named by the operator."""

    url: str | None = Field(
        None,
        description="A ClickHouse server of yours, `http://host:port` or `https://host:port` (ports 8123 and 8443 may "
        "be left out); none starts the embedded store.",
    )
    user: str | None = Field(
        None, min_length=1, description="With `url`: the user that the pipeline writes as; none means `default`."
    )
    password_file: Path | None = Field(
        None,
        description="With `url`: the file that holds the password of `user`; none means no password. Read at every "
        "connect, so that a password can be changed without a restart.",
    )
    reader_user: str | None = Field(
        None,
        min_length=1,
        description="With `url`: the user of viewer, `query` and `audit`; none means `user`. Whoever it is, these "
        "connections ask for `readonly`.",
    )
    reader_password_file: Path | None = Field(
        None, description="With `reader_user`: the file that holds its password; none means no password."
    )
    readers: dict[Literal["viewer", "alerts", "query"], StoreReader] = Field(
        {},
        description="With `url`: users of their own for the viewer, the alert rules and the commands, each with `user` "
        "and `password_file`, so that no reader takes the slots of another. A part without one reads as `reader_user`. "
        "The embedded store has such users by itself.",
    )
    ca_file: Path | None = Field(
        None,
        description="With an https `url`: certificates (PEM) of those who may vouch for the server; none means the "
        "system's.",
    )
    compression: Literal["lz4", "none"] | None = Field(
        None, description="Compression of inserts on their way; none means lz4 with `url`, no compression without."
    )
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
        256 * MIB, ge=16 * MIB, description="Bound on one query of a read-only user, bytes; it cannot lift it."
    )
    reader_max_execution_s: int = Field(
        125,
        ge=1,
        description="Longest time that a query of a read-only user may ask for, seconds; without asking it has 30. "
        "Grafana's plugin asks for its `queryTimeout` and 5 s more; over the bound the store refuses the query.",
    )
    reader_max_threads: int = Field(2, ge=1, description="Threads of one query of a read-only user.")
    reader_queries_at_once: int = Field(
        12,
        ge=1,
        le=1024,
        description="Queries at one time of all who read without a password together; one caller may hold two thirds "
        "of them. Further ones wait for 10 s at most. Viewer, alert rules and commands have slots of their own.",
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="Names in the Host header, without a port, under which the embedded store is served besides "
        "`localhost` and loopback addresses: of a reverse proxy of yours. Others are refused, so that no page reaches "
        "the store under a name of its own.",
    )
    start_timeout_s: float = Field(60, gt=0, description="How long the store may take to become ready, seconds.")
    stop_timeout_s: float = Field(
        15, gt=0, description="How long an orderly stop may take before the child is killed, seconds."
    )

    @field_validator("url")
    @classmethod
    def _is_base_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if "@" in url:
            raise ValueError("must hold no credentials: name them in store.user and store.password_file")
        parts = _BASE_URL.fullmatch(url)
        if parts is None or not 0 < int(parts["port"] or 1) < 65536:
            raise ValueError("must be http://host:port or https://host:port")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _is_embedded_or_remote(self) -> Self:
        given = self.model_fields_set
        if self.url is None:
            for name in ("user", "password_file", "reader_user", "reader_password_file", "ca_file", "readers"):
                if getattr(self, name) not in (None, {}):
                    raise ValueError(
                        f"{name} needs store.url: the embedded store has users of its own; got {name} alone"
                    )
            return self
        for name in ("binary", "host", "http_port", "native_port", "allowed_hosts", "reader_queries_at_once"):
            if name in given and getattr(self, name) is not None:
                raise ValueError(
                    f"{name} is of the embedded store, which store.url replaces; got {name} {getattr(self, name)} and "
                    f"url {self.url}"
                )
        if self.reader_password_file is not None and self.reader_user is None:
            raise ValueError(f"reader_password_file needs reader_user; got {self.reader_password_file} alone")
        if self.ca_file is not None and not self.url.startswith("https:"):
            raise ValueError(f"ca_file needs an https url; got ca_file {self.ca_file} and url {self.url}")
        return self


class RetentionSettings(Section):
    """How long the store keeps each signal, days. A row older than this is deleted within a further day."""

    traces_days: int = Field(7, ge=1, le=3650, description="Spans and the trace index, days.")
    logs_days: int = Field(7, ge=1, le=3650, description="Log records, days.")
    metrics_days: int = Field(30, ge=1, le=3650, description="Metric data points, days.")
    rollups_days: int = Field(90, ge=1, le=3650, description="One-minute rollups, days.")
    hourly_rollups_days: int = Field(
        400, ge=1, le=3650, description="One-hour rollups and the inventory, days: a year to compare with."
    )
