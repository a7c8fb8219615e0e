"""Parts of a Collector's configuration that tests and benchmarks share, and the two paths that the benchmark measures.

Nothing here loses data: a full queue blocks the caller, and retries do not end. The defaults drop in both cases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Section = dict[str, Any]
SIGNALS = ("traces", "metrics", "logs")
# What is late is sent again, and was written all the same: with the default of 5 s a busy machine had rows doubled.
_TIMEOUT = "120s"
_FOREVER = {"enabled": True, "initial_interval": "100ms", "max_interval": "5s", "max_elapsed_time": 0}


def otlp_in(port: int) -> Section:
    """Receiver: OTLP over gRPC on 127.0.0.1."""
    return {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{port}", "max_recv_msg_size_mib": 64}}}}


def otlp_out(address: str) -> Section:
    """Exporter: OTLP over gRPC without a queue, so that the caller is answered by what is behind."""
    return {
        "otlp_grpc": {
            "endpoint": address, "tls": {"insecure": True}, "sending_queue": {"enabled": False},
            "retry_on_failure": {"enabled": False}, "compression": "none",
        }
    }  # fmt: skip


def kafka_out(bootstrap: str, topics: Mapping[str, str], *, compression: str = "lz4") -> Section:
    """Exporter: one `otlp_proto` record a request, acknowledged by all replicas before the caller is.

    Args:
        bootstrap: `host:port`, comma-separated.
        topics: topic by signal (`traces`, `metrics`, `logs`).
        compression: of the producer.
    """
    return {
        "kafka": {
            "brokers": bootstrap.split(","),
            "producer": {
                "required_acks": -1, "compression": compression, "max_message_bytes": 16 << 20,
                "allow_auto_topic_creation": False,
            },
            "timeout": _TIMEOUT, "sending_queue": {"enabled": False},
            "retry_on_failure": _FOREVER,
            **{signal: {"topic": topic, "encoding": "otlp_proto"} for signal, topic in topics.items()},
        }
    }  # fmt: skip


def kafka_in(bootstrap: str, topics: Mapping[str, str], *, group: str) -> Section:
    """Receiver: from the earliest record, offsets committed after what is behind has taken a record."""
    return {
        "kafka": {
            "brokers": bootstrap.split(","), "group_id": group, "initial_offset": "earliest",
            "max_fetch_size": 64 << 20, "max_partition_fetch_size": 16 << 20,
            "autocommit": {"enable": True, "interval": "1s"}, "message_marking": {"after": True},
            **{signal: {"topics": [topic], "encoding": "otlp_proto"} for signal, topic in topics.items()},
        }
    }  # fmt: skip


def clickhouse_out(
    native_port: int, user: str, password: str, *, database: str = "otel", create_schema: bool = False,
    queue: Section | None = None,
) -> Section:  # fmt: skip
    """Exporter: rows over native TCP, LZ4.

    Args:
        native_port: of a ClickHouse server on 127.0.0.1.
        user: who writes.
        password: that user's.
        database: with the tables.
        create_schema: make the exporter's own tables.
        queue: a `sending_queue`; none means that the caller waits for the insert.
    """
    return {
        "clickhouse": {
            "endpoint": f"tcp://127.0.0.1:{native_port}", "username": user, "password": password,
            "database": database, "create_schema": create_schema, "async_insert": False, "compress": "lz4",
            "timeout": _TIMEOUT, "sending_queue": queue or {"enabled": False},
            "retry_on_failure": {"enabled": False} if queue is None else _FOREVER,
        }
    }  # fmt: skip


def large_batches(min_items: int = 50_000, max_items: int = 60_000) -> Section:
    """A `sending_queue` that makes large inserts and blocks when it is full: with the default two thirds were lost."""
    return {
        "enabled": True, "block_on_overflow": True, "num_consumers": 2, "queue_size": 4 * min_items, "sizer": "items",
        "batch": {"min_size": min_items, "max_size": max_items, "flush_timeout": "1s", "sizer": "items"},
    }  # fmt: skip


def pipelines(receivers: Section, exporters: Section, signals: Iterable[str] = SIGNALS) -> Section:
    """A whole configuration: every receiver to every exporter, for each of `signals`."""
    path = {"receivers": list(receivers), "exporters": list(exporters)}
    return {
        "receivers": receivers,
        "exporters": exporters,
        "service": {"pipelines": dict.fromkeys(signals, path)},
    }


def otlp_to_kafka(otlp_port: int, bootstrap: str, topic: str, *, compression: str = "lz4") -> Section:
    """The benchmark's first half: spans received over gRPC, written to a topic, acknowledged after the broker has."""
    topics = {"traces": topic}
    return pipelines(otlp_in(otlp_port), kafka_out(bootstrap, topics, compression=compression), topics)


def kafka_to_clickhouse(bootstrap: str, topic: str, group: str, native_port: int, user: str, password: str) -> Section:
    """The benchmark's second half: spans from a topic into the stock table `otel.otel_traces`, in large batches."""
    topics = {"traces": topic}
    rows = clickhouse_out(native_port, user, password, queue=large_batches())
    return pipelines(kafka_in(bootstrap, topics, group=group), rows, topics)
