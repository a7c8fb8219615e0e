"""What the two sides of a log on Kafka agree on: topic names, record headers, commit metadata, sizes.

The rest of the program speaks of topics by their default names, which name the signal; only here they become the
configured ones. A record of a Collector has no headers: its tenant is '', its items are counted when it is decoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.kafka_settings import KafkaSettings
from schemas.log import DeadLetter, OffsetRange, Record
from schemas.signals import NAMES, Signal

Headers = list[tuple[str, bytes]]

# A record batch has 61 bytes of header, a record up to some 40 of lengths and its own headers (KIP-98); a compressor
# may add 0.4 % to what does not compress.
_OVERHEAD_BYTES = 2048
_EXPANSION = 1.004

_TENANT, _RECEIVED_AT, _ITEMS, _REJECTED = "tenant", "received_at", "items", "rejected"
_OWN = frozenset({_TENANT, _RECEIVED_AT, _ITEMS, _REJECTED})
# A dead letter's own headers, beside those of its record.
_REASON, _MESSAGE, _FAILED_AT, _SOURCE = "dlq.reason", "dlq.message", "dlq.failed_at", "dlq.source"
_REDRIVEN_AT, _LETTER = "dlq.redriven_at", "dlq.letter"


def topic_names(settings: KafkaSettings) -> dict[str, str]:
    """The configured name of each topic by its default name."""
    return {NAMES[signal].topic: settings.topic(signal) for signal in Signal}


def dead_letter_topic(configured_topic: str) -> str:
    """Where the dead letters of a topic go; compacted by source position, so that none is there twice for long."""
    return f"{configured_topic}.dlq"


def consumer_group(prefix: str, configured_topic: str) -> str:
    """The group that reads a topic: one each, so that a rebalance of one signal leaves the others alone."""
    return f"{prefix}.{configured_topic}"


def largest_value_bytes(max_message_bytes: int, compressed: bool) -> int:
    """The largest value whose record batch is within a topic's `max.message.bytes`, whatever its content."""
    room = max_message_bytes - _OVERHEAD_BYTES
    return int(room / _EXPANSION) if compressed else room


def encode_headers(
    tenant: str, received_at_ns: int, items: int | None, rejected: int, headers: Mapping[str, str]
) -> Headers:
    """A record's headers: ours first, then those that travelled with it. Zero and '' are left out."""
    own: Headers = []
    if tenant:
        own.append((_TENANT, tenant.encode()))
    if received_at_ns:
        own.append((_RECEIVED_AT, str(received_at_ns).encode()))
    if items is not None:
        own.append((_ITEMS, str(items).encode()))
    if rejected:
        own.append((_REJECTED, str(rejected).encode()))
    return own + [(name, value.encode()) for name, value in headers.items()]


def decode_record(
    topic: str, partition: int, offset: int, value: bytes | None, timestamp_ms: int, headers: Iterable[tuple[str, Any]]
) -> Record:
    """A record as read. A header of ours that is no number counts as absent: strangers may write to a topic."""
    # Every record has a few headers, so this is per record, never per item.
    found: dict[str, str] = {}
    for name, content in headers:
        found[name] = bytes(content or b"").decode("utf-8", "replace")
    received_at_ns = _number(found.get(_RECEIVED_AT))
    return Record(
        topic,
        partition,
        offset,
        value or b"",
        found.get(_TENANT, ""),
        timestamp_ms * 1_000_000 if received_at_ns is None else received_at_ns,
        _number(found.get(_ITEMS)),
        _number(found.get(_REJECTED)) or 0,
        {name: content for name, content in found.items() if name not in _OWN},
    )


def _number(text: str | None) -> int | None:
    # As many digits as an Int64 has, or the columns that they end in overflow.
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 18 + (text < "92"):
        return None
    return int(text)


def encode_progress(log_id: str, frozen: OffsetRange | None) -> str:
    """Commit metadata. `log_id` tells a topic that was deleted and made again from the one the offset is about."""
    parts: dict[str, Any] = {"log": log_id}
    if frozen is not None:
        parts["frozen"] = [frozen.first, frozen.last]
    return json.dumps(parts, separators=(",", ":"))


def decode_progress(metadata: str | None) -> tuple[str | None, OffsetRange | None]:
    """(log id, frozen range) of a commit; (None, None) for one that another program made."""
    try:
        parts = json.loads(metadata or "")
        log_id = str(parts["log"])
        frozen = parts.get("frozen")
        return log_id, None if frozen is None else OffsetRange(int(frozen[0]), int(frozen[1]))
    except (ValueError, TypeError, KeyError, IndexError):
        return None, None


def position_key(source: Record) -> bytes:
    """The key of a dead letter: where its record was."""
    return f"{source.topic}/{source.partition}/{source.offset}".encode()


def encode_dead_letter(letter: DeadLetter) -> Headers:
    """The headers of a dead letter; its value is the record's, its key `position_key`."""
    source = letter.source
    return [
        *encode_headers(source.tenant, source.received_at_ns, source.items, source.rejected, source.headers),
        (_SOURCE, position_key(source)),
        (_REASON, letter.reason.encode()),
        (_MESSAGE, letter.message.encode()),
        (_FAILED_AT, str(letter.failed_at_ns).encode()),
    ]


def encode_redriven(letter: DeadLetter, letter_id: int, redriven_at_ns: int) -> Headers:
    """The headers of the record that replaces a dead letter once it was sent through again."""
    return [
        *encode_dead_letter(letter),
        (_LETTER, str(letter_id).encode()),
        (_REDRIVEN_AT, str(redriven_at_ns).encode()),
    ]


@dataclass(frozen=True, slots=True)
class DecodedLetter:
    """A dead letter as read. `id` is that of the first record about it; None where the record itself is the first."""

    letter: DeadLetter
    id: int | None
    redriven_at_ns: int | None


def decode_dead_letter(record: Record) -> DecodedLetter | None:
    """What a record of a dead-letter topic says; None when it is none of ours."""
    own = {name: text for name, text in record.headers.items() if name.startswith("dlq.")}
    source = own.get(_SOURCE, "").rsplit("/", 2)
    if len(source) != 3 or not (source[1].isdigit() and source[2].isdigit()):
        return None
    headers = {name: text for name, text in record.headers.items() if name not in own}
    original = Record(
        source[0],
        int(source[1]),
        int(source[2]),
        record.value,
        record.tenant,
        record.received_at_ns,
        record.items,
        record.rejected,
        headers,
    )
    letter = DeadLetter(original, own.get(_REASON, ""), own.get(_MESSAGE, ""), _number(own.get(_FAILED_AT)) or 0)
    return DecodedLetter(letter, _number(own.get(_LETTER)), _number(own.get(_REDRIVEN_AT)))


def connection_options(settings: KafkaSettings) -> dict[str, Any]:
    """What every client of kafka-python is told about reaching the brokers; reads the file of the SASL password.

    Raises:
        OSError: the file cannot be read.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": list(settings.bootstrap_servers),
        "security_protocol": settings.security_protocol,
        "request_timeout_ms": int(settings.request_timeout_s * 1000),
        "reconnect_backoff_max_ms": 2000,
    }
    if settings.security_protocol.endswith("SSL"):
        for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
            path = getattr(settings, name)
            options[name] = None if path is None else str(path)
    if settings.security_protocol.startswith("SASL") and settings.sasl_password_file is not None:
        options |= {
            "sasl_mechanism": settings.sasl_mechanism,
            "sasl_plain_username": settings.sasl_username,
            "sasl_plain_password": settings.sasl_password_file.read_text(encoding="utf-8").strip(),
        }
    return options
