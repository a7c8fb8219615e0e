"""Settings of the viewer: where it listens, how hard it may ask the store, what it calls red."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from schemas.settings import Section


class AlertSettings(Section):
    """The rules on an Alertmanager, where Grafana does not evaluate them."""

    alertmanager_url: str | None = Field(
        None,
        pattern=r"^https?://\S+$",
        description="An Alertmanager, such as `http://127.0.0.1:9093`; `sluiceway up` then evaluates the alert rules "
        "and tells it what fires. None evaluates nothing: Grafana does, or nobody.",
    )
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
