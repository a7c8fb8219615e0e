"""What a client was told of every item that it sent, held against what a store has of it."""

from __future__ import annotations

import http.client
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.signals import Signal
from schemas.telemetry import SELF_TENANT
from tests.faults.load import BLOCK, SERVICES

# Long enough for a machine that is busy with other things, compiling included; nothing below asserts a time.
TIMEOUT_S = 240.0

# A reader may be answered a million rows (`max_result_rows`); 200 kills under load store more in one table.
_ROWS_AN_ANSWER = 500_000
# A rollup that differs from its base table in the telemetry of this service alone is looked at so often at most.
_LOOKS = 6
_UNREAD = ("cannot be read",)

_TABLES: Mapping[Signal, tuple[tuple[str, str], ...]] = {
    Signal.TRACES: (("otel_traces", "SpanAttributes"),),
    Signal.LOGS: (("otel_logs", "LogAttributes"),),
    Signal.METRICS: tuple(
        (f"otel_metrics_{kind}", "Attributes")
        for kind in ("gauge", "sum", "histogram", "exponential_histogram", "summary")
    ),
}

_SERVICE_KEYS = "TenantId, ServiceName, SpanKind, StatusCode, ServiceVersion, Environment"
_SPAN_KEYS = f"{_SERVICE_KEYS}, SpanName"
_LOG_KEYS = "TenantId, ServiceName, SeverityText, SeverityNumber"

_METRIC_KEYS = "TenantId, ServiceName, MetricName, ServiceVersion, Environment"
_METRIC_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
_METRIC_DAYS = f"""SELECT toStartOfDay(toDateTime(TimeUnix, 'UTC')) AS Start, '{{kind}}' AS Kind, {_METRIC_KEYS},
    count(),
    min(toDateTime(TimeUnix)), max(toDateTime(TimeUnix)),
    uniqCombined(12)(cityHash64(ResourceAttributes, ScopeName, Attributes))
    FROM otel_metrics_{{kind}} GROUP BY Start, {_METRIC_KEYS}"""


def _series(
    rollup: str, start_of: str, sources: Sequence[tuple[str, str, str]], kind: str, first: str, last: str
) -> tuple[str, str]:
    """First and last point of every series; a source is a kind, a table, and the columns by which points compare."""
    keys = "TenantId, ServiceName, MetricName"
    counted = " UNION ALL ".join(
        f"""SELECT {start_of}(toDateTime(TimeUnix), 'UTC') AS Start, '{name}' AS Kind, {keys},
            toJSONString(Attributes) AS Series, count(),
            toString(min((TimeUnix, {value}))), toString(max((TimeUnix, {value})))
            FROM {table} GROUP BY Start, {keys}, Series"""
        for name, table, value in sources
    )
    held = f"""SELECT Time AS Start, {kind} AS Kind, {keys}, Attributes AS Series, sum(Points),
        toString({first}), toString({last}) FROM {rollup} GROUP BY Start, Kind, {keys}, Series"""
    return held, counted


def _numbers(tier: str, start_of: str) -> tuple[str, str]:
    columns = "TenantId, ServiceName, TimeUnix"
    parts = f"""(SELECT {columns}, Attributes, concat(MetricName, '_count') AS MetricName, toFloat64(Count) AS Value
        FROM otel_metrics_summary
        UNION ALL SELECT {columns}, Attributes, concat(MetricName, '_sum'), Sum FROM otel_metrics_summary)"""
    quantiles = f"""(SELECT {columns}, mapUpdate(Attributes, map('quantile', toString(q))) AS Attributes, MetricName,
        Value FROM otel_metrics_summary ARRAY JOIN ValueAtQuantiles.Quantile AS q, ValueAtQuantiles.Value AS Value)"""
    sources = [
        ("gauge", "otel_metrics_gauge", "Value"),
        ("sum", "otel_metrics_sum", "Value"),
        ("sum", parts, "Value"),
        ("gauge", quantiles, "Value"),
    ]
    first, last = (
        f"""(fromUnixTimestamp64Nano(toInt64(bitShiftRight({packed}, 64))),
        reinterpretAsFloat64(toUInt64(bitAnd({packed}, 18446744073709551615))))"""
        for packed in ("min(First)", "max(Last)")
    )
    return _series(f"numbers_{tier}", start_of, sources, "Kind", first, last)


def _histograms(tier: str, start_of: str) -> tuple[str, str]:
    source = ("histogram", "otel_metrics_histogram", "Count, Sum, BucketCounts")
    return _series(f"histograms_{tier}", start_of, [source], "'histogram'", "min(First)", "max(Last)")


def _exponential_histograms(tier: str, start_of: str) -> tuple[str, str]:
    kind = "exponential_histogram"
    source = (kind, f"otel_metrics_{kind}", "Count, Sum, Scale")
    # Their buckets are numbered in another way there, which the view's own tests hold against observations.
    first, last = (f"({point}.1, {point}.2, {point}.3, {point}.4)" for point in ("First", "Last"))
    return _series(f"{kind}s_{tier}", start_of, [source], f"'{kind}'", f"min({first})", f"max({last})")


def _spans(rollup: str, start_of: str, keys: str = _SPAN_KEYS) -> tuple[str, str]:
    return (
        f"""SELECT Time AS Start, {keys}, sum(Calls), sum(Errors), sum(DurationSum),
            toString(sumMap(DurationBuckets)) FROM {rollup} GROUP BY Start, {keys}""",
        f"""SELECT {start_of}(toDateTime(Timestamp), 'UTC') AS Start, {keys}, count(),
            countIf(StatusCode = 'Error'), sum(Duration),
            toString(sumMap(map(toUInt16(floor(log2(greatest(Duration, 1)) * 8)), toUInt64(1))))
            FROM otel_traces GROUP BY Start, {keys}""",
    )


# A trace of this service alone is told by its tenant, as rows of the other rollups are.
_TENANT = f"if(TraceId IN (SELECT TraceId FROM otel_traces WHERE TenantId = '{SELF_TENANT}'), '{SELF_TENANT}', '')"

# Rollup to what it holds and to the same from its base table: one row a group on each side.
_ROLLUPS: Mapping[str, tuple[str, str]] = {
    "spans_1m": _spans("spans_1m", "toStartOfMinute"),
    "spans_1h": _spans("spans_1h", "toStartOfHour"),
    "services_1m": _spans("services_1m", "toStartOfMinute", _SERVICE_KEYS),
    "services_1h": _spans("services_1h", "toStartOfHour", _SERVICE_KEYS),
    "logs_1m": (
        f"SELECT Time AS Minute, {_LOG_KEYS}, sum(Records) FROM logs_1m GROUP BY Minute, {_LOG_KEYS}",
        f"""SELECT toStartOfMinute(toDateTime(Timestamp)) AS Minute, {_LOG_KEYS}, count()
            FROM otel_logs GROUP BY Minute, {_LOG_KEYS}""",
    ),
    "numbers_1m": _numbers("1m", "toStartOfMinute"),
    "numbers_1h": _numbers("1h", "toStartOfHour"),
    "histograms_1m": _histograms("1m", "toStartOfMinute"),
    "histograms_1h": _histograms("1h", "toStartOfHour"),
    "exponential_histograms_1m": _exponential_histograms("1m", "toStartOfMinute"),
    "exponential_histograms_1h": _exponential_histograms("1h", "toStartOfHour"),
    "metrics_1d": (
        f"""SELECT Time AS Start, Kind, {_METRIC_KEYS}, sum(Points), min(FirstSeen), max(LastSeen),
            uniqCombinedMerge(12)(Series) FROM metrics_1d GROUP BY Start, Kind, {_METRIC_KEYS}""",
        " UNION ALL ".join(_METRIC_DAYS.format(kind=kind) for kind in _METRIC_KINDS),
    ),
    "otel_traces_trace_id_ts": (
        f"SELECT TraceId, min(Start), max(End), {_TENANT} FROM otel_traces_trace_id_ts GROUP BY TraceId",
        f"""SELECT TraceId, toDateTime(min(Timestamp)), toDateTime(max(Timestamp)), {_TENANT} FROM otel_traces
            WHERE TraceId != '' GROUP BY TraceId""",
    ),
}


def wait_until(reached: Callable[[], object], what: str, timeout_s: float = TIMEOUT_S) -> None:
    """Poll; a condition that never comes is a failure that says what was waited for."""
    deadline_s = time.monotonic() + timeout_s
    while not reached():
        assert time.monotonic() < deadline_s, f"waited {timeout_s:.0f} s for: {what}"
        time.sleep(0.02)


class Load:
    """The client of load.py, from the outside."""

    def __init__(self, reports: Path, process: subprocess.Popen[bytes]) -> None:
        self._reports, self._process = reports, process
        self._at = 0
        self._tail = b""
        self.outcomes: dict[Signal, dict[int, str]] = {kind: {} for kind in Signal}
        self.last_ack_ns: dict[Signal, int] = dict.fromkeys(Signal, 0)

    def read(self) -> None:
        """Take in what was reported since."""
        if not self._reports.exists():
            return
        with self._reports.open("rb") as file:
            file.seek(self._at)
            data = self._tail + file.read()
            self._at = file.tell()
        *lines, self._tail = data.split(b"\n")
        for line in lines:
            kind, first, last, outcome, at_ns = line.decode().split()
            self.outcomes[Signal(kind)].update(dict.fromkeys(range(int(first), int(last) + 1), outcome))
            if outcome.startswith("acked"):
                self.last_ack_ns[Signal(kind)] = int(at_ns)

    def count(self, outcome: str) -> Counter[Signal]:
        """Items with that outcome so far, by signal."""
        self.read()
        return Counter({kind: sum(o == outcome for o in self.outcomes[kind].values()) for kind in Signal})

    def acked_since(self, at_ns: int) -> bool:
        """Whether every signal was acknowledged after that moment of the monotonic clock."""
        self.read()
        return all(last > at_ns for last in self.last_ack_ns.values())

    def await_acks(self, what: str = "an acknowledgement of every signal") -> None:
        """Wait until each signal was acknowledged after now."""
        now_ns = time.monotonic_ns()
        wait_until(lambda: self.acked_since(now_ns), what)

    @property
    def sending(self) -> bool:
        """Whether the client runs."""
        return self._process.poll() is None

    def stop(self) -> None:
        """No more requests; the answers to those under way are reported."""
        if self._process.poll() is None:
            self._process.terminate()
            self._process.wait(TIMEOUT_S)
        self.read()


def copies(outcome: str) -> tuple[int, int]:
    """How often an item may be stored, at least and at most, by what its client was told.

    `acked+2` is an SDK's success at the third attempt, after two without an answer; `unknown+2` is three such attempts.
    """
    what, _, earlier = outcome.partition("+")
    sent_before = int(earlier or 0)
    least, most = {"acked": (1, 1), "refused": (0, 0), "unknown": (0, 1), "partial": (0, 1), "unfit": (0, 1)}[what]
    return least, most + sent_before


@dataclass
class Proof:
    """What was found in the store of what was sent, in items; `repeated` are there again by an SDK's own retries."""

    acked: int = 0
    refused: int = 0
    unknown: int = 0
    found: int = 0
    retried: int = 0
    repeated: int = 0
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = f"acked {self.acked}, refused {self.refused}, unknown {self.unknown}, found {self.found}"
        if not self.retried:
            return told
        return f"{told}; {self.retried} sent again by an SDK that got no answer, {self.repeated} of them there twice"


class Evidence:
    """A store asked over HTTP, as its read-only user, on `store_port` of this machine."""

    def __init__(self, store_port: int) -> None:
        self.store_port = store_port

    def ask(self, sql: str) -> list[list[str]] | None:
        """The store's answer as rows of text, as the read-only user; None while it cannot answer."""
        url = f"http://127.0.0.1:{self.store_port}/?database=otel&default_format=TabSeparated"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, sql.encode()), timeout=TIMEOUT_S) as answer:
                text: str = answer.read().decode()
                return [line.split("\t") for line in text.splitlines()]
        except urllib.error.HTTPError as error:
            # No table yet, or shutting down; a question of ours that can never be answered must be seen.
            if error.headers.get("X-ClickHouse-Exception-Code") in ("47", "62"):
                raise
            return None
        except (OSError, http.client.HTTPException):
            return None

    def all_rows(self, sql: str) -> list[list[str]] | None:
        """As `ask`, for any number of rows, in no order: as many questions as the reader's bound on answers needs."""
        counted = self.ask(f"SELECT count() FROM ({sql})")
        if not counted:
            return None
        slices = int(counted[0][0]) // _ROWS_AN_ANSWER + 1
        found: list[list[str]] = []
        for number in range(slices):
            rows = self.ask(f"SELECT * FROM ({sql}) WHERE cityHash64(*) % {slices} = {number}")
            if rows is None:
                return None
            found += rows
        return found

    def number(self, sql: str) -> int:
        """One number, 0 while the store cannot answer."""
        rows = self.ask(sql)
        return int(rows[0][0]) if rows else 0

    def await_batch(self, signals: Collection[Signal] = tuple(Signal)) -> None:
        """Wait until a batch of each of these signals was written after now."""
        stored = "SELECT Signal, count() FROM ledger WHERE TableName = '' GROUP BY Signal"
        before: dict[str, int] = {}

        def known() -> bool:
            rows = self.ask(stored)
            before.update({kind: int(count) for kind, count in rows or ()})
            return rows is not None

        def more() -> bool:
            now = {kind: int(count) for kind, count in self.ask(stored) or ()}
            return all(now.get(kind, 0) > before.get(kind, 0) for kind in signals)

        wait_until(known, "the store and its schema")
        wait_until(more, f"a batch of {', '.join(signals)}")

    def prove_items(self, outcomes: Mapping[Signal, Mapping[int, str]]) -> Proof:
        """Every item that was ever sent against its tables, and the rollups against their base tables."""
        proof = Proof()
        for kind in Signal:
            self._prove_signal(proof, kind, outcomes[kind])
        for name in _ROLLUPS:
            different = self._difference(name)
            looks = 1
            # Our own telemetry goes on meanwhile and may come between the two questions, at every look where they take
            # longer than it pauses; what is wrong in it stays so.
            while different and looks < _LOOKS and all(SELF_TENANT in row for row in different):
                time.sleep(0.5)
                again = self._difference(name)
                different = again if _UNREAD in again else different & again
                looks += 1
            if different:
                proof.wrong.append(f"{name} differs from its base table: {sorted(different)[:10]}")
        return proof

    def _difference(self, rollup: str) -> set[tuple[str, ...]]:
        """Rows that only one of the two has, and which: what a rollup holds, and the same from its base table."""
        answers = (self.all_rows(question) for question in _ROLLUPS[rollup])
        held, counted = (None if rows is None else {tuple(row) for row in rows} for rows in answers)
        if held is None or counted is None:
            return {_UNREAD}
        return {("held", *row) for row in held - counted} | {("counted", *row) for row in counted - held}

    def _prove_signal(self, proof: Proof, kind: Signal, outcomes: Mapping[int, str]) -> None:
        found: Counter[int] = Counter()
        # Others may have used the same store before; what they sent is in other blocks of numbers.
        blocks = {number // BLOCK for number in outcomes}
        for table, attributes in _TABLES[kind]:
            rows = self.all_rows(f"SELECT {attributes}['load.id'] FROM {table} WHERE ServiceName IN {SERVICES}")
            if rows is None:
                proof.wrong.append(f"{table} cannot be read")
                return
            found.update(int(row[0]) for row in rows if int(row[0]) // BLOCK in blocks)
        sent = Counter(outcome.partition("+")[0] for outcome in outcomes.values())
        proof.acked += sent["acked"]
        proof.refused += sent["refused"]
        proof.unknown += sent["unknown"]
        proof.found += found.total()
        proof.retried += sum("+" in outcome for outcome in outcomes.values())
        proof.repeated += sum(found[n] > 1 for n, outcome in outcomes.items() if "+" in outcome)
        bounds = {outcome: copies(outcome) for outcome in set(outcomes.values())}
        wrong = {
            "acked and missing": [n for n, o in outcomes.items() if found[n] < bounds[o][0]],
            "refused and there": [n for n, o in outcomes.items() if o == "refused" and found[n]],
            "there too often": [n for n, o in outcomes.items() if found[n] > bounds[o][1]],
            "there and never sent": [n for n in found if n not in outcomes],
            "told no retryable status": [n for n, o in outcomes.items() if o == "unfit"],
            "answered in part": [n for n, o in outcomes.items() if o == "partial"],
        }
        proof.wrong += [f"{kind}: {len(n)} {what}: {sorted(n)[:20]}" for what, n in wrong.items() if n]
