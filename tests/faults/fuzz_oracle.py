"""What must hold whatever was sent: what was acknowledged is in the real log, nothing else is, nothing broke."""

from __future__ import annotations

import logging
import resource
import string
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Self

from ingest.containers import fields
from ingest.decompress import decompress
from ingest.json import encode_request
from ingest.settings import IngestSettings
from ingest.sqlite_log import SqliteLogWriter
from ingest.status import JSON, answer_to
from ingest.tally import Tally
from ingest.validate import Verdict, validate, warm_up
from ingest.wire_schema import REQUESTS
from processors.sqlite_log import SqliteLogReader
from schemas.errors import SluicewayError
from schemas.settings import MIB, LogSettings
from schemas.signals import Signal, topic
from tests.otlp_requests import NOW_NS, items

SETTINGS = IngestSettings(
    grpc_port=0,
    http_port=0,
    drain_timeout_s=5.0,
    # No bound on load or time may be met: each answer is then about the bytes alone.
    header_timeout_s=120.0,
    body_timeout_s=120.0,
    idle_timeout_s=120.0,
    max_concurrent_requests=8192,
    max_tenant_share=1,
    max_signal_share=1,
    max_connections=4096,
    append_timeout_s=120.0,
)
# For streams that may break off: the server must end them by itself.
IMPATIENT = SETTINGS.model_copy(update={"header_timeout_s": 0.5, "body_timeout_s": 0.5, "idle_timeout_s": 1.0})
DAY_NS = 86400 * 10**9
KEPT_DAYS = {Signal.TRACES: 7, Signal.LOGS: 7, Signal.METRICS: 30}
CLIENTS_FAULT = {"accepted", "partial", "malformed", "unsupported", "too_large"}
TENANT_LETTERS = set(string.ascii_letters + string.digits + "._-")
PATIENCE_S = 120.0
Chunks = Counter[tuple[str, str, bytes]]


def judged(signal: Signal, body: bytes) -> Verdict:
    """What the receivers make of a protobuf request."""
    return validate(
        signal,
        body,
        now_ns=NOW_NS,
        oldest_ns=NOW_NS - KEPT_DAYS[signal] * DAY_NS,
        newest_ns=NOW_NS + DAY_NS,
    )


def answered(signal: Signal, media: str, encoding: str, body: bytes, tenant: str) -> tuple[int, Verdict | None]:
    """The HTTP code that a request must be answered with, and what of it must be kept."""
    try:
        decoded = decompress(encoding, body, max_bytes=SETTINGS.max_decompressed_bytes)
        if media == JSON:
            decoded = encode_request(signal, decoded, max_depth=SETTINGS.max_nesting_depth)
        if len(tenant) > 128 or set(tenant) - TENANT_LETTERS:
            return 400, None
        return 200, judged(signal, decoded)
    except SluicewayError as error:
        return answer_to(error).http, None


class Expected:
    """What was acknowledged since the last look at the log, in parts that concatenation keeps apart."""

    def __init__(self) -> None:
        self.chunks: Chunks = Counter()
        self.rejected = 0

    def keep(self, signal: Signal, tenant: str, verdict: Verdict) -> None:
        if not verdict.items and not verdict.rejected:
            return  # Nothing is lost by not keeping a request without items.
        self.chunks.update(chunks(signal, tenant, verdict.body))
        self.rejected += verdict.rejected


def chunks(signal: Signal, tenant: str, body: bytes) -> list[tuple[str, str, bytes]]:
    """The outermost fields of a request, which are those of the record that it was concatenated into."""
    return [(topic(signal), tenant, body[start:stop]) for _, start, _, stop in fields(body, 0, len(body))]


class KeptLog:
    """The real log, read, checked and trimmed as it fills."""

    def __init__(self, folder: Path) -> None:
        warm_up()
        path = folder / "log.sqlite"
        self.writer = SqliteLogWriter(path, LogSettings(max_bytes=256 * MIB))
        self._readers = {signal: SqliteLogReader(path, topic(signal)) for signal in Signal}
        self.items = self.rejected = self.records = 0

    def drain(self) -> tuple[Chunks, int]:
        """All that was appended since the last call, checked record by record, and how many items were rejected."""
        found: Chunks = Counter()
        rejected = 0
        for signal, reader in self._readers.items():
            while records := reader.read(0, reader.progress(0).next_offset, max_records=1000, max_bytes=16 * MIB):
                for record in records:
                    verdict = judged(signal, record.value)
                    assert (verdict.items, verdict.rejected) == (record.items, 0), record.value.hex()
                    self.records += 1
                    self.items += verdict.items
                    rejected += record.rejected
                    found.update(chunks(signal, record.tenant, record.value))
                    if self.records % 10 == 0:
                        message = REQUESTS[signal].FromString(record.value)
                        assert sum(1 for _ in items(message)) == record.items
                reader.freeze(0, records[-1].offset)
                reader.commit(0)
        self.rejected += rejected
        return found, rejected

    def must_hold(self, expected: Expected) -> None:
        """What was acknowledged is there, once, and nothing else is."""
        found, rejected = self.drain()
        if found != expected.chunks:
            raise AssertionError(
                f"only in the log: {_some(found - expected.chunks)}; missing: {_some(expected.chunks - found)}"
            )
        assert rejected == expected.rejected
        expected.chunks.clear()
        expected.rejected = 0

    def must_balance(self, tally: Tally) -> None:
        """Where it is not known which bytes were taken for requests: what was acknowledged is what is there."""
        must_be_idle(tally)
        self.drain()
        until(
            lambda: sum(tally.of("accepted").values()) == self.items,
            lambda: f"{tally.of('accepted')} items were acknowledged, {self.items} are in the log",
        )
        assert sum(tally.of("rejected").values()) == self.rejected
        must_be_faultless(tally, broken_off=True)

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        self.writer.close()


def _some(surplus: Chunks) -> str:
    shown = [(name, tenant, chunk.hex()) for name, tenant, chunk in list(surplus)[:3]]
    return f"{surplus.total()} fields, among them {shown}"


def must_be_faultless(tally: Tally, *, broken_off: bool = False) -> None:
    """Every answer was a success or the client's fault, and every admitted byte was given back.

    Only bodies that were `broken_off` may be refused for now, for being slow.
    """
    outcomes = {dict(labels)["outcome"] for labels in tally.of("requests")}
    assert outcomes <= (CLIENTS_FAULT | {"refused"} if broken_off else CLIENTS_FAULT), tally.of("requests")
    assert {dict(labels)["reason"] for labels in tally.of("refused")} <= {"slow client"}, tally.of("refused")
    assert (tally.admission.requests, tally.admission.in_flight_bytes) == (0, 0)


def must_be_idle(tally: Tally) -> None:
    until(lambda: tally.admission.requests == 0, lambda: f"{tally.admission.requests} requests never ended")


def until(condition: Callable[[], bool], failure: Callable[[], str]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, failure()
        time.sleep(0.005)


class Complaints(logging.Handler):
    """Errors that anything in this process logged: an exception that nobody caught ends here."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.told: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # grpcio reports metadata that is no text with a traceback, and goes on with Latin-1.
        if not record.msg.startswith("Invalid encoding on"):
            self.told.append(self.format(record))

    def __enter__(self) -> Self:
        # A warning for each bad request is right in production and millions of them here.
        self._uvicorn = logging.getLogger("uvicorn.error")
        self._level = self._uvicorn.level
        self._uvicorn.setLevel(logging.ERROR)
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        self._uvicorn.setLevel(self._level)


def resident_mib() -> float:
    with Path("/proc/self/statm").open() as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() / MIB
