"""`python -m bench.redaction FILE`: what redaction rules cost, in microseconds of CPU an item, beside decoding.

One thread, a process of its own. The standard spans of FILE, and log records whose body and two of three attributes are
bytes, the worst that rules meet.
"""

from __future__ import annotations

import gc
import json
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench.decode import RECORDS_A_BATCH
from bench.spans import read
from processors.arena import Arena
from processors.decode import decode
from processors.guard.redact import redact
from processors.guard.rules import TEXTS, RedactionRule
from schemas.log import Record
from schemas.signals import Signal, topic

ROUNDS = 7
LOG_RECORDS = 51_200
_MAIL = r"[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}"
RULES = {
    "none": (),
    "a name that nothing has": (RedactionRule(name="r", action="drop", attributes=("*.password",)),),
    "a pattern on every value, found nowhere": (RedactionRule(name="r", action="mask", pattern=_MAIL),),
    "a pattern on names, found nowhere": (RedactionRule(name="r", action="mask", pattern=_MAIL, where=("key",)),),
    "a pattern on all texts, found nowhere": (RedactionRule(name="r", action="mask", pattern=_MAIL, where=TEXTS),),
    "names masked, those of HTTP and n": (
        RedactionRule(name="r", action="mask", attributes=("http.*", "n"), where=("key",)),
    ),
}


def log_records_of_bytes(count: int) -> bytes:
    """A request of log records with what bytes may be: text, text in a map, and neither."""
    rng, request = random.Random(1), ExportLogsServiceRequest()
    logs = request.resource_logs.add().scope_logs.add()
    for _ in range(count):
        record = logs.log_records.add()
        record.body.bytes_value = b"user %d took %d ms" % (rng.randrange(10**6), rng.randrange(1000))
        record.attributes.add(key="payload").value.bytes_value = rng.randbytes(24)
        record.attributes.add(key="n").value.int_value = rng.randrange(10**6)
        inner = record.attributes.add(key="m").value.kvlist_value.values.add(key="a")
        inner.value.bytes_value = b"text %d" % rng.randrange(1000)
    return request.SerializeToString()


def measure(signal: Signal, bodies: Sequence[bytes]) -> dict[str, dict[str, float]]:
    """The least of the rounds, for each kind of rule."""
    now_ns = time.time_ns()
    records = [Record(topic(signal), 0, at, body, "", now_ns, None) for at, body in enumerate(bodies)]
    arena = Arena()
    found = {}
    gc.disable()
    for name, rules in RULES.items():
        decoding, ruling = [], []
        for _ in range(ROUNDS):
            started_s = time.process_time()
            decoded = decode(signal, records, arena, marked=bool(rules))
            decoded_s = time.process_time()
            redact(decoded, rules, b"")
            ruling.append((time.process_time() - decoded_s) / decoded.items.sum())
            decoding.append((decoded_s - started_s) / decoded.items.sum())
        found[name] = {"decode_us": round(min(decoding) * 1e6, 3), "rules_us": round(min(ruling) * 1e6, 3)}
    return found


if __name__ == "__main__":
    spans = [body for body, _ in zip(read(Path(sys.argv[1])), range(RECORDS_A_BATCH), strict=False)]
    print(json.dumps({
        "spans": measure(Signal.TRACES, spans),
        "log records of bytes": measure(Signal.LOGS, [log_records_of_bytes(LOG_RECORDS)]),
    }, indent=1))  # fmt: skip
