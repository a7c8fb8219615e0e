"""What ingest counts about itself: plain integers on the request path, read by OpenTelemetry when it collects.

An SDK instrument costs microseconds a call and a small request makes several calls; an integer costs tens of ns.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from weakref import WeakSet

from ingest.admission import Admission
from ingest.status import answer_to
from schemas.signals import Signal, signal_of
from schemas.telemetry import observe

_log = logging.getLogger(__name__)
# A retryable error's message begins with the name of the bound or part that refused; labels take few, fixed values.
_REASONS = {
    "max_concurrent_requests": "requests",
    "max_in_flight_bytes": "bytes",
    "max_tenant_share": "tenant share",
    "max_signal_share": "signal share",
    "max_peer_share": "peer share",
    "tenant_bytes_per_s": "tenant rate",
    "tenant_items_per_s": "tenant rate",
    "circuit": "circuit",
    "body_timeout_s": "slow client",
    "min_body_bytes_per_s": "slow client",
    "max_arriving_bytes": "slow client",
    "max_arriving_calls": "slow client",
    "log": "log",
    "receiver": "stopping",
}
_Labels = tuple[tuple[str, str], ...]
_Observed = Iterable[tuple[float, dict[str, str]]]


class Tally:
    """Counts of one pair of receivers, for as long as they live. Safe from any thread."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, _Labels]] = Counter()
        _tallies.add(self)

    def answered(self, signal: Signal, transport: str, outcome: str) -> None:
        """One request was answered."""
        self._add(("requests", (("signal", signal), ("transport", transport), ("outcome", outcome))), 1)

    def failed(self, signal: Signal, transport: str, error: BaseException) -> None:
        """One request was answered with an error. What is neither the client's fault nor load is logged as ours."""
        answer = answer_to(error)
        self.answered(signal, transport, answer.outcome)
        if answer.retryable:
            reason = _REASONS.get(str(error).partition(":")[0], "other")
            self._add(("refused", (("signal", signal), ("transport", transport), ("reason", reason))), 1)
        elif answer.http == 500:
            _log.error("a %s request over %s failed through a fault of ours", signal, transport, exc_info=error)

    def read(self, signal: Signal, transport: str, size_bytes: int) -> None:
        """One body was read, decompressed."""
        self._add(("bytes", (("signal", signal), ("transport", transport))), size_bytes)

    def items(self, signal: Signal, accepted: int, rejected: int) -> None:
        """Items of one acknowledged request."""
        labels = (("signal", signal),)
        with self._lock:
            self._counts["received", labels] += accepted + rejected
            self._counts["accepted", labels] += accepted
            self._counts["rejected", labels] += rejected

    def repeated(self, signal: Signal) -> None:
        """One request was answered by an earlier one with the same bytes, and not appended."""
        self._add(("repeated", (("signal", signal),)), 1)

    def appended(self, topic: str, size_bytes: int) -> None:
        """One record is durable."""
        labels = (("signal", signal_of(topic)),)
        with self._lock:
            self._counts["records", labels] += 1
            self._counts["record_bytes", labels] += size_bytes

    def append_failed(self) -> None:
        """The log refused one commit."""
        self._add(("errors", ()), 1)

    def _add(self, key: tuple[str, _Labels], amount: int) -> None:
        with self._lock:
            self._counts[key] += amount

    def of(self, what: str) -> dict[_Labels, int]:
        """The counts of one kind by label."""
        with self._lock:
            return {labels: count for (kind, labels), count in self._counts.items() if kind == what}

    @property
    def admission(self) -> Admission:
        """The bounds that this tally reports on."""
        return self._admission


_tallies: WeakSet[Tally] = WeakSet()


def _sum(what: str) -> _Observed:
    total: Counter[_Labels] = Counter()
    for tally in list(_tallies):
        total.update(tally.of(what))
    return [(count, dict(labels)) for labels, count in total.items()]


def _in_flight(name: str) -> Iterator[tuple[float, dict[str, str]]]:
    yield sum(getattr(tally.admission, name) for tally in list(_tallies)), {}


def _observe_all() -> None:
    for name, what in (
        ("sluiceway_ingest_requests_total", "requests"),
        ("sluiceway_ingest_requests_refused_total", "refused"),
        ("sluiceway_ingest_requests_repeated_total", "repeated"),
        ("sluiceway_ingest_items_received_total", "received"),
        ("sluiceway_ingest_items_accepted_total", "accepted"),
        ("sluiceway_ingest_items_rejected_total", "rejected"),
        ("sluiceway_ingest_received_bytes_total", "bytes"),
        ("sluiceway_log_appended_records_total", "records"),
        ("sluiceway_log_appended_bytes_total", "record_bytes"),
        ("sluiceway_log_append_errors_total", "errors"),
    ):
        observe(name, lambda what=what: _sum(what))  # type: ignore[misc]
    observe("sluiceway_ingest_in_flight_bytes", lambda: _in_flight("in_flight_bytes"))
    observe("sluiceway_ingest_in_flight_requests", lambda: _in_flight("requests"))


# Once a process: a second instrument of the same name is refused by the SDK with a warning.
_observe_all()
