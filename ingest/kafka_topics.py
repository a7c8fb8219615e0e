"""The topics of the log on Kafka: made where they are missing, checked where they exist."""

from __future__ import annotations

import logging
from typing import Any

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, NewTopic
from kafka.errors import KafkaError

from schemas.errors import ConfigurationError, LogUnavailableError
from schemas.kafka_client import opened
from schemas.kafka_errors import unavailable
from schemas.kafka_log import connection_options, dead_letter_topic, largest_value_bytes, topic_names
from schemas.kafka_settings import KafkaSettings

_log = logging.getLogger(__name__)
_LEAST_RECORD_BYTES = 64 * 1024


def prepare(settings: KafkaSettings, max_record_bytes: int) -> int:
    """Make missing topics, those of dead letters too; the largest record, up to `max_record_bytes`, that all take.

    Raises:
        ConfigurationError: a topic is compacted, or takes no record of a useful size.
        LogUnavailableError: no broker answers, or it refuses us for now.
    """
    try:
        timeout_ms = int(settings.connect_timeout_s * 1000)
        admin = opened(
            KafkaAdminClient,
            **connection_options(settings),
            client_id="sluiceway-topics",
            bootstrap_timeout_ms=timeout_ms,
        )
        try:
            names = list(topic_names(settings).values())
            _make_missing(admin, settings, names, timeout_ms)
            return min(max_record_bytes, *_bounds(admin, settings, names))
        finally:
            admin.close()
    except (KafkaError, OSError) as error:
        raise unavailable(error, "topics") from error


def _make_missing(admin: Any, settings: KafkaSettings, names: list[str], timeout_ms: int) -> None:
    known = set(admin.list_topics())
    letters = [dead_letter_topic(name) for name in names]
    new = [
        NewTopic(name, settings.partitions, settings.replication_factor, topic_configs=_of_records(settings))
        for name in names
        if name not in known
    ] + [
        NewTopic(name, 1, settings.replication_factor, topic_configs=_of_dead_letters(settings))
        for name in letters
        if name not in known
    ]
    if not new:
        return
    # Other instances make the same topics at the same time: what exists by now is as good.
    made = admin.create_topics(new, raise_errors=False)
    wrong = [topic for topic in made["topics"] if topic["error_code"] not in (0, 36)]
    if wrong:
        raise LogUnavailableError(
            "kafka: topics: " + "; ".join(f"{each['name']}: {each['error_message']}" for each in wrong)
        )
    admin.wait_for_topics([*names, *letters], timeout_ms=timeout_ms)
    _log.info("made the topics %s", ", ".join(topic.name for topic in new))


def _of_records(settings: KafkaSettings) -> dict[str, str]:
    return {
        "cleanup.policy": "delete",
        "retention.ms": str(settings.retention_s * 1000),
        "max.message.bytes": str(settings.max_message_bytes),
        "min.insync.replicas": str(settings.min_insync_replicas),
        # The record's time is when ingest received it, which audits and lag go by; brokers keep it as it is.
        "message.timestamp.type": "CreateTime",
    }


def _of_dead_letters(settings: KafkaSettings) -> dict[str, str]:
    return {
        # By source position: a dead letter that waits is never deleted, one that was redriven is replaced.
        "cleanup.policy": "compact",
        "max.message.bytes": str(settings.max_message_bytes + 64 * 1024),
        "min.insync.replicas": str(settings.min_insync_replicas),
    }


def _bounds(admin: Any, settings: KafkaSettings, names: list[str]) -> list[int]:
    found = admin.describe_configs([ConfigResource("TOPIC", name) for name in names], config_filter="all")
    bounds = []
    for name in names:
        configs = found["topic"][name]
        policy = str(configs["cleanup.policy"]["value"])
        if "compact" in policy:
            raise ConfigurationError(
                f"kafka: topic {name}: cleanup.policy must be delete, as records have no key; got {policy}"
            )
        bytes_ = largest_value_bytes(int(configs["max.message.bytes"]["value"]), settings.compression != "none")
        if bytes_ < _LEAST_RECORD_BYTES:
            raise ConfigurationError(
                f"kafka: topic {name}: max.message.bytes must allow records of {_LEAST_RECORD_BYTES} bytes; "
                f"got {configs['max.message.bytes']['value']}"
            )
        bounds.append(bytes_)
    return bounds
