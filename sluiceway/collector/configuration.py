"""Renders the configuration of an OpenTelemetry Collector, agent or gateway, for this deployment.

The files beside this one are the configurations; here their values are chosen. Nothing secret is ever written: a
Collector reads passwords from its own environment.
"""

from __future__ import annotations

import json
import re
from typing import Any

import jinja2

from schemas.errors import ConfigurationError
from schemas.kafka_settings import KafkaSettings
from schemas.settings import MIB
from schemas.signals import Signal

_QUEUE_REQUESTS = 10_000
_MIN_BATCH_BYTES = MIB
_MAX_BATCH_BYTES = 4 * MIB
# A record batch has a header of its own, and the exporter measures a request a few bytes apart from the client.
_RECORD_OVERHEAD_BYTES = 4096
DEFAULT_STORAGE = "/var/lib/otelcol/sluiceway"
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,128}")


def agent(endpoint: str, *, max_request_bytes: int, tenant: str = "", storage: str = DEFAULT_STORAGE) -> str:
    """YAML of a Collector that sends to our ingest at `endpoint`, `host:port` of gRPC.

    Args:
        endpoint: where ingest is reached from the agent.
        max_request_bytes: what ingest takes, bytes.
        tenant: sent as `x-tenant-id`; '' sends none.
        storage: folder of the queue on the agent's machine.

    Raises:
        ConfigurationError: an argument cannot be written into the file.
    """
    return _render(
        "agent.yaml.j2", exporter="otlp_grpc", endpoint=endpoint, timeout_s=60, consumers=4,
        min_batch_bytes=_MIN_BATCH_BYTES, max_batch_bytes=min(_MAX_BATCH_BYTES, max_request_bytes),
        max_request_mib=max(1, max_request_bytes // MIB), tenant=_tenant(tenant), storage=storage,
    )  # fmt: skip


def gateway(kafka: KafkaSettings, *, max_request_bytes: int, tenant: str = "", storage: str = DEFAULT_STORAGE) -> str:
    """YAML of a Collector that writes to our topics.

    Args:
        kafka: brokers, topics, protection. The password is no part of the answer.
        max_request_bytes: the largest request taken, bytes.
        tenant: written as the records' header `tenant`; '' writes none.
        storage: folder of the queue on the gateway's machine.

    Raises:
        ConfigurationError: no brokers, or an argument cannot be written into the file.
    """
    if not kafka.enabled:
        raise ConfigurationError(
            "kafka.bootstrap_servers: must name a broker for a gateway, got none (SLUICEWAY_KAFKA__BOOTSTRAP_SERVERS)"
        )
    max_batch_bytes = kafka.max_message_bytes - _RECORD_OVERHEAD_BYTES
    files = {"ca_file": kafka.ssl_cafile, "cert_file": kafka.ssl_certfile, "key_file": kafka.ssl_keyfile}
    return _render(
        "gateway.yaml.j2", exporter="kafka", kafka=kafka, timeout_s=60, consumers=8,
        topics={signal.value: kafka.topic(signal) for signal in Signal},
        tls=kafka.security_protocol.endswith("SSL"),
        tls_files={name: path for name, path in files.items() if path is not None},
        sasl=kafka.security_protocol.startswith("SASL"),
        min_batch_bytes=min(_MIN_BATCH_BYTES, max_batch_bytes), max_batch_bytes=max_batch_bytes,
        max_request_mib=max(1, max_request_bytes // MIB), tenant=_tenant(tenant), storage=storage,
    )  # fmt: skip


def _tenant(name: str) -> str:
    if name and not _TENANT.fullmatch(name):
        raise ConfigurationError(f"tenant: must be 1 to 128 of A-Z a-z 0-9 . _ -, got {name!r}")
    return name


def _yaml(value: object) -> str:
    """A text that the Collector reads as this very text: JSON is YAML, and a single `$` would begin a reference."""
    return json.dumps(str(value), ensure_ascii=False).replace("$", "$$")


def _render(template: str, **values: Any) -> str:
    environment = jinja2.Environment(  # noqa: S701 - the output is YAML; every text goes through `yaml`
        loader=jinja2.PackageLoader("sluiceway.collector", ""),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    environment.filters["yaml"] = _yaml
    listen = {"grpc": "127.0.0.1:4317", "http": "127.0.0.1:4318"}
    return environment.get_template(template).render(listen=listen, queue_requests=_QUEUE_REQUESTS, **values)
