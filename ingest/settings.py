"""Settings of the receivers and of the appending side."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from schemas.settings import MIB, Section


class TenantLimit(Section):
    """What one tenant may send; a rate that is left out is that of all tenants."""

    bytes_per_s: float | None = Field(None, ge=0, description="Bytes a second after decompression; 0 is no limit.")
    items_per_s: float | None = Field(None, ge=0, description="Items a second; 0 is no limit.")


class IngestSettings(Section):
    """OTLP in: where we listen, what one request may cost, how small requests are coalesced."""

    grpc_host: str = Field("127.0.0.1", description="Address of the gRPC receiver.")
    grpc_port: int = Field(4317, ge=0, le=65535, description="Port of the gRPC receiver. 0 takes a free one.")
    http_host: str = Field("127.0.0.1", description="Address of the HTTP receiver.")
    http_port: int = Field(4318, ge=0, le=65535, description="Port of the HTTP receiver. 0 takes a free one.")
    max_body_bytes: int = Field(
        16 * MIB, ge=64 * 1024, le=1024 * MIB, description="Largest HTTP body as it travels, bytes. Over it: 413."
    )
    max_decompressed_bytes: int = Field(
        32 * MIB,
        ge=64 * 1024,
        le=1024 * MIB,
        description="Largest request after decompression, on both receivers, bytes. Over it: 413 or RESOURCE_EXHAUSTED "
        "without RetryInfo, which tells the client not to retry.",
    )
    max_request_items: int = Field(
        100_000,
        ge=1000,
        le=1_000_000,
        description="Spans, data points or log records of one request, and of one record of the log, whatever its "
        "size. Two bytes are an item, which takes hundreds where it is stored. Over it: 413 or INVALID_ARGUMENT.",
    )
    max_request_elements: int = Field(
        1_000_000,
        ge=1000,
        le=10_000_000,
        description="Messages inside one request: items, the resources, scopes and metrics around them, their events, "
        "links, exemplars and elements of arrays. Attributes that are not empty do not count. "
        "Over it: 413 or INVALID_ARGUMENT.",
    )
    max_json_memory_bytes: int = Field(
        128 * MIB,
        ge=MIB,
        le=4096 * MIB,
        description="Memory that decoding one JSON body may take, bytes; estimated before, from its size and from "
        "how many objects and arrays it holds. About 6 MB of usual spans fit. Over it: 413.",
    )
    max_nesting_depth: int = Field(
        136,
        ge=16,
        le=256,
        description="Deepest nesting of objects and arrays in a JSON body. An attribute value may be nested "
        "32 levels deep in any encoding; JSON writes three or four objects or arrays for each.",
    )
    max_concurrent_requests: int = Field(
        256,
        ge=1,
        le=65536,
        description="Requests admitted at one time, both receivers together. Over it: 429 or RESOURCE_EXHAUSTED with a "
        "retry hint.",
    )
    max_in_flight_bytes: int = Field(
        192 * MIB,
        ge=MIB,
        description="Bytes of admitted requests that are not answered yet, both receivers together. Over it: 429 or "
        "RESOURCE_EXHAUSTED with a retry hint.",
    )
    max_tenant_share: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of `max_concurrent_requests` and `max_in_flight_bytes` that one tenant may hold alone; "
        "while others hold some, it may hold share / (1 - share) times what is free. Its only request needs no share. "
        "Over it: 429 or RESOURCE_EXHAUSTED with a retry hint. 1 lets one tenant hold all.",
    )
    max_signal_share: float = Field(
        0.9,
        gt=0,
        le=1,
        description="The same for one signal (traces, metrics, logs) of all tenants together; above "
        "`max_tenant_share`, so that a tenant which floods one signal leaves room in it for the others.",
    )
    max_peer_share: float = Field(
        0.9,
        gt=0,
        le=1,
        description="The same for one peer: the address of the connection (of IPv6: its network of 64 bits), whatever "
        "tenants it names. Behind a proxy or load balancer all clients are one peer: 1 there.",
    )
    tenant_bytes_per_s: float = Field(
        0,
        ge=0,
        description="Bytes after decompression that one tenant may send, a second. Over it: 429 or RESOURCE_EXHAUSTED "
        "with the time until it may send again. 0 is no limit.",
    )
    tenant_items_per_s: float = Field(
        0, ge=0, description="Spans, data points and log records that one tenant may send, a second. 0 is no limit."
    )
    tenant_burst_s: float = Field(
        10.0,
        ge=0,
        le=3600,
        description="Seconds of its rate that a tenant which was silent may send at once, besides one request.",
    )
    tenant_limits: dict[str, TenantLimit] = Field(
        {},
        description="Rates of single tenants in place of the two above: a mapping of tenant to `bytes_per_s` and "
        "`items_per_s`; '' is the tenant of requests that name none.",
    )
    tenants_remembered: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Tenants whose rate is kept, about 300 bytes each; the one that was silent longest gives way.",
    )
    max_connections: int = Field(
        1024,
        ge=1,
        le=65536,
        description="Open HTTP connections. Over it the one that has waited longest without a whole request is closed; "
        "where none waits, the new one is answered 503 and closed.",
    )
    max_connections_per_peer: int = Field(
        512,
        ge=1,
        le=65536,
        description="Open HTTP connections of one peer, bounded in the same way. Behind a proxy or load balancer all "
        "clients are one peer: as many as `max_connections` there.",
    )
    grpc_max_connections: int = Field(
        1024, ge=1, le=65536, description="Open gRPC connections. Over it a new one is closed."
    )
    grpc_max_age_s: float = Field(
        3600.0,
        ge=1,
        le=86400 * 365,
        description="How old a gRPC connection may grow, seconds; then its client is told to open another, and calls "
        "under way end.",
    )
    max_arriving_bytes: int = Field(
        64 * MIB,
        ge=64 * 1024,
        le=16 * 1024 * MIB,
        description="Bytes of HTTP bodies that are not there whole yet, all together. Over it the peer that holds most "
        "is cut: its slowest body is answered 429.",
    )
    max_arriving_calls: int = Field(
        64,
        ge=1,
        le=4096,
        description="gRPC calls whose message is not there whole yet, at one time; each may hold up to "
        "`max_decompressed_bytes` of memory. Over it the oldest of the peer that has most is cancelled.",
    )
    grpc_threads: int = Field(
        32,
        ge=1,
        le=1024,
        description="gRPC requests checked and waited for at one time, for each signal where the log is on Kafka; "
        "further ones wait. A request whose body is on its way takes none.",
    )
    http_threads: int = Field(
        4,
        ge=1,
        le=256,
        description="Threads that decompress and check large, compressed or JSON bodies of HTTP requests.",
    )
    one_cpu: bool = Field(
        True,
        description="Keep the threads that receive and append on one CPU, and move them when others use it. They hold "
        "Python's lock in turns, and a turn that goes to another CPU costs more than it gains. On Linux only.",
    )
    coalesce_linger_ms: float = Field(
        2.0,
        ge=0,
        le=1000,
        description="How long a commit waits for more small requests, milliseconds. 0 commits at once what has queued.",
    )
    coalesce_bytes: int = Field(
        1024 * 1024,
        ge=1024,
        le=64 * MIB,
        description="Size up to which requests of one signal and tenant are coalesced into one log record, bytes.",
    )
    append_timeout_s: float = Field(
        30.0, gt=0, description="How long a request waits for the log, seconds. Over it: 503 or UNAVAILABLE."
    )
    repeat_window_s: float = Field(
        300.0,
        ge=0,
        le=86400,
        description="How long a request whose client got no success, while the log may have its bytes, is remembered, "
        "seconds: the same bytes are then acknowledged without being appended again. 0 remembers none.",
    )
    repeats_remembered: int = Field(
        10_000,
        ge=1,
        le=10_000_000,
        description="Requests remembered for `repeat_window_s` at one time, about 1,000 bytes each; the oldest gives "
        "way.",
    )
    circuit_failures: int = Field(
        5,
        ge=1,
        le=1000,
        description="Commits in a row that the log must refuse before its circuit opens: requests are then answered "
        "503 or UNAVAILABLE at once, with the time until the log is asked again, and are not queued.",
    )
    circuit_open_s: float = Field(
        1.0,
        gt=0,
        le=600,
        description="How long the circuit to the log stays open at first, seconds; then one request is tried, and each "
        "that fails doubles the time.",
    )
    circuit_open_max_s: float = Field(
        10.0, gt=0, le=3600, description="How long the circuit to the log stays open at most, seconds."
    )
    header_timeout_s: float = Field(
        10.0, gt=0, description="How long a client may take to send the head of an HTTP request, seconds."
    )
    body_timeout_s: float = Field(
        30.0, gt=0, description="How long a client may take to send the body of a request, seconds."
    )
    min_body_bytes_per_s: float = Field(
        1024.0,
        ge=0,
        le=1e9,
        description="Slowest that the body of an HTTP request may come, bytes a second. Over gRPC it is not known how "
        "much of a message has come: `body_timeout_s` and `max_arriving_calls` hold there. 0 is no bound.",
    )
    body_grace_s: float = Field(
        5.0,
        gt=0,
        le=600,
        description="How long a body may pause, seconds: each stretch of this must bring `min_body_bytes_per_s`.",
    )
    idle_timeout_s: float = Field(
        75.0, gt=0, description="How long a connection may stay open without a request, seconds, on both receivers."
    )
    drain_timeout_s: float = Field(
        10.0, gt=0, description="How long an orderly stop waits for requests under way, seconds."
    )
    retry_after_s: float = Field(
        1.0, gt=0, le=600, description="When a client that was pushed back is told to come again, seconds."
    )
    max_future_s: float = Field(
        86400.0,
        ge=0,
        description="How far ahead of our clock an item's time may be, seconds. Items further ahead, and items older "
        "than the retention of their signal, are rejected one by one through partial_success.",
    )
    tenant_header: str = Field(
        "x-tenant-id",
        pattern=r"^[a-z0-9][a-z0-9._-]*$",
        description="HTTP header and gRPC metadata key that names the tenant, in lower case.",
    )
    tenants: tuple[str, ...] = Field(
        (),
        description="Tenants that may send; '' is that of requests that name none. Others are refused with 403 or "
        "PERMISSION_DENIED. An empty list lets any tenant send.",
    )
    cors_origins: tuple[str, ...] = Field(
        ("http://localhost:*", "http://127.0.0.1:*"),
        description="Origins whose pages may send from a browser; `*` stands for any text without a slash. "
        "Empty refuses all.",
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        """A request within its own bound must be admissible alone, or it would be pushed back for ever."""
        if self.max_arriving_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_arriving_bytes must hold one body of max_body_bytes, {self.max_body_bytes}; "
                f"got {self.max_arriving_bytes}"
            )
        for name, needed in (
            # Twice: where it is split, its parts are copies.
            ("max_decompressed_bytes", 2 * self.max_decompressed_bytes + self.max_body_bytes),
            (
                "max_json_memory_bytes",
                self.max_json_memory_bytes + self.max_decompressed_bytes + self.max_body_bytes,
            ),
        ):
            if needed > self.max_in_flight_bytes:
                raise ValueError(
                    f"max_in_flight_bytes must hold one request of {name}, which takes {needed} bytes; "
                    f"got {self.max_in_flight_bytes}"
                )
        return self
