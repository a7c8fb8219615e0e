"""Hypothesis strategies: OTLP requests full of what is awkward, and the log records that carry them.

A request is drawn as a seed, because it takes thousands of choices, which Hypothesis would track one by one.
"""

from __future__ import annotations

import random
import struct
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from ingest.wire_schema import REQUESTS
from schemas.log import Record
from schemas.signals import Signal, topic
from tests.otlp_requests import NOW_NS, Maker

SIGNALS = st.sampled_from(list(Signal))
SEEDS = st.integers(0, 2**48)
TENANTS = ("", "acme", "blue-corp", "z" * 128)
_AWKWARD = ("\x00", "\x1f", '"', "\\", "\n", "\b\f\r\t", "\u2028", "\u2029", "\x7f", "<&>", "é", "日本", "🛒")
_PLAIN = [chr(code) for code in range(32, 127)]
_KEYS = ("service.name", "service.version", "deployment.environment", "deployment.environment.name", "http", "k", "")


class AwkwardMaker(Maker):
    """As Maker, with texts, doubles and ids where a decoder would go wrong."""

    def scalar(self, field: FieldDescriptor) -> Any:
        rng = self.rng
        if field.type == FieldDescriptor.TYPE_STRING:
            if field.name == "key" and rng.random() < 0.6:
                return rng.choice(_KEYS)
            return self._text()
        if field.name == "bytes_value" and rng.random() < 0.5:
            return self._text().encode()
        if field.type == FieldDescriptor.TYPE_DOUBLE:
            return rng.choice((
                0.0, -0.0, float(rng.randint(-(2**60), 2**60)), rng.uniform(-1, 1) * 10 ** rng.randint(-320, 300),
                float("nan"), float("inf"), float("-inf"), rng.randint(-999, 999) / 8, 2.0 ** rng.randint(-1074, 1023),
                struct.unpack("<d", rng.randbytes(8))[0],
            ))  # fmt: skip
        if field.type == FieldDescriptor.TYPE_BYTES and field.name.endswith("_id") and rng.random() < 0.2:
            return bytes(16 if field.name == "trace_id" else 8)
        if field.name.endswith("time_unix_nano") and rng.random() < 0.1:
            return rng.choice((1, 2**63 - 1, 2**63, 2**64 - 1, NOW_NS))
        return super().scalar(field)

    def _text(self) -> str:
        rng = self.rng
        size = rng.choice((0, 1, 3, 4, 5, 11, 12, 13, 16, 40))
        return "".join(rng.choice(_AWKWARD) if rng.random() < 0.15 else rng.choice(_PLAIN) for _ in range(size))


def message(rng: random.Random, signal: Signal, repeats: int = 3) -> Any:
    """A request, possibly empty."""
    made = REQUESTS[signal]()
    AwkwardMaker(rng, repeats=repeats).fill(made)
    return made


def record_of(signal: Signal, value: bytes, offset: int = 0, **fields: Any) -> Record:
    """A log record with ordinary headers where none are given."""
    given = {"tenant": "", "received_at_ns": NOW_NS, "items": None} | fields
    return Record(topic(signal), 0, offset, value, **given)


def records_from(seed: int, signal: Signal) -> list[Record]:
    """One to six records of one to three concatenated requests each, some without the headers of our ingest."""
    rng = random.Random(seed)
    made = []
    for offset in range(rng.choice((1, 1, 2, 6))):
        requests = [message(rng, signal, rng.choice((1, 2, 3))) for _ in range(rng.choice((1, 1, 2, 3)))]
        value = b"".join(request.SerializeToString() for request in requests)
        received_at_ns = 0 if rng.random() < 0.2 else NOW_NS + rng.randint(0, 10**15)
        made.append(record_of(signal, value, offset, tenant=rng.choice(TENANTS), received_at_ns=received_at_ns))
    return made


def records(signal: Signal) -> st.SearchStrategy[list[Record]]:
    """Batches of one signal."""
    return SEEDS.map(lambda seed: records_from(seed, signal))


ANY_DOUBLE = st.floats(width=64)
FINITE_DOUBLE = st.floats(width=64, allow_nan=False, allow_infinity=False)
