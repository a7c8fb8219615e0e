"""Settings of the viewer and of alerts: where it listens, how hard it may ask the store, who is told."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from schemas.settings import Section


class AlertSettings(Section):
    """The rules on this machine, where Grafana does not evaluate them."""

    evaluate: bool = Field(
        False,
        description="`sluiceway up` evaluates the alert rules, for the viewer and the incident records, though it is "
        "given nobody to tell. Without this and the two addresses below Grafana evaluates them, or nobody.",
    )
    alertmanager_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="An Alertmanager, such as `http://127.0.0.1:9093`; `sluiceway up` then evaluates the alert rules "
        "and tells it what fires.",
    )
    webhook_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="Without an Alertmanager: told what fires and what is over in the form of Alertmanager's webhook, "
        "of each alert once.",
    )
    owners_file: Path | None = Field(
        None,
        description="The ownership file: whose incidents they are, who is told through the webhook, and to whom pages "
        "escalate. Read at start.",
    )
    incidents_days: int = Field(400, ge=1, le=3650, description="How long incident records are kept, days.")
    resend_s: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="How often an alert that fires is told again, seconds. It is over for the Alertmanager when it was "
        "not for four times as long, as after the end of this process.",
    )
    link_url: str = Field(
        "http://127.0.0.1:8080", description="The viewer, as those who are paged reach it; notices link there."
    )
    slo_folder: Path | None = Field(
        None, description="OpenSLO files whose burn rates are evaluated too; None is none. See docs/slos.md."
    )
    runbooks_url: str = Field("docs/runbooks", description="Where people find `docs/runbooks`; notices link there.")

    @property
    def evaluates(self) -> bool:
        """Whether `sluiceway up` evaluates the rules."""
        return self.evaluate or self.alertmanager_url is not None or self.webhook_url is not None

    @model_validator(mode="after")
    def _one_is_told(self) -> Self:
        if self.alertmanager_url is not None and self.webhook_url is not None:
            raise ValueError(
                "webhook_url must be left out where alertmanager_url is given: the Alertmanager posts to webhooks; "
                "received both"
            )
        return self


class ViewerSettings(Section):
    """The page on :8080."""

    enabled: bool = Field(True, description="Serve the viewer. False opens no port.")
    host: str = Field(
        "127.0.0.1",
        description="Address that the viewer listens on. It has no authentication: past loopback, put an "
        "authenticating proxy in front of it and name its host in allowed_hosts.",
    )
    port: int = Field(8080, ge=0, le=65535, description="Port of the viewer. 0 takes a free one.")
    allowed_hosts: tuple[str, ...] = Field(
        ("localhost", "127.0.0.1"),
        description="Host names that a browser may use for the viewer. Others are refused with 400, so that a foreign "
        "web page cannot read telemetry by pointing its own name at loopback.",
    )
    max_connections: int = Field(
        256,
        ge=32,
        le=65536,
        description="Open connections to the viewer. Over it the one that has waited longest without a request, or has "
        "left its answer unread, is closed.",
    )
    max_connections_per_peer: int = Field(
        192,
        ge=16,
        le=65536,
        description="Open connections of one address (of IPv6: of one network of 64 bits), bounded in the same way.",
    )
    max_pages: int = Field(
        64,
        ge=1,
        le=4096,
        description="Pages answered at once. Over it a page answers 503. `/healthz`, `/readyz` and `/metrics` do not "
        "count and are answered always.",
    )
    header_timeout_s: float = Field(
        10.0, gt=0, description="How long a browser may take to send the head of a request, seconds."
    )
    body_timeout_s: float = Field(
        10.0, gt=0, description="How long a browser may take to send the body of a request, seconds."
    )
    idle_timeout_s: float = Field(
        15.0, gt=0, description="How long a connection to the viewer may stay open without a request, seconds."
    )
    answer_timeout_s: float = Field(
        90.0,
        gt=0,
        description="How long a page may take, from its request to the last byte that the browser reads, seconds.",
    )
    pool_size: int = Field(
        3, ge=1, le=8, description="Queries that the viewer runs on the store at once. Further ones wait their turn."
    )
    query_timeout_s: int = Field(
        10, ge=1, le=300, description="Bound on one of the viewer's queries, seconds. The store stops it then."
    )
    waiting_max: int = Field(
        64, ge=1, description="Queries that may wait for the store. A page that would wait behind more answers 503."
    )
    refresh_s: int = Field(
        10, ge=0, le=3600, description="How often an open page reloads its figures by itself, seconds. 0 never does."
    )
    amber_error_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of failed calls in the recent window from which a service is shown degraded.",
    )
    red_error_ratio: float = Field(
        0.05,
        ge=0,
        le=1,
        description="Share of failed calls in the recent window from which a service is shown failing.",
    )
    slow_factor: float = Field(
        2.0,
        gt=1,
        description="A service whose recent p95 is this many times that of the rest of the range is shown slow.",
    )
    recent_s: int = Field(
        300, ge=60, description="The recent window that a service's state is judged by, seconds; whole minutes."
    )
    traces_limit: int = Field(50, ge=1, le=1000, description="Traces listed on a service's page.")
    spans_limit: int = Field(
        2000, ge=1, le=50_000, description="Spans drawn of one trace; the page says when there are more."
    )

    @model_validator(mode="after")
    def _probes_have_room(self) -> Self:
        # Connections that are not pages': a probe finds one whatever the pages do.
        if self.max_pages >= min(self.max_connections, self.max_connections_per_peer):
            raise ValueError(
                "max_pages must be below max_connections and max_connections_per_peer, so that probes have room; "
                f"received {self.max_pages}, {self.max_connections} and {self.max_connections_per_peer}"
            )
        return self
