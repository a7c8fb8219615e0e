"""One trace as a waterfall: spans in tree order, each with its events and log records."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dashboards.store import Row, StoreReader

TRACE_ID = re.compile(r"[0-9a-f]{32}", re.ASCII)
COLOURS = 8
DEPTH_MAX = 24
BAR_UNITS = 1000
_BAR_MIN = 2.0
_LOGS_LIMIT = 1000
# Log records of a trace may be written a little before its first or after its last span.
_LOGS_MARGIN_S = 60


_ResourceKey: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Event:
    """An event of a span, `offset_ns` after the start of the trace."""

    offset_ns: int
    name: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class LogRecord:
    """A log record of the trace; `span_id` is '' when it names no span."""

    at_ns: int
    offset_ns: int
    span_id: str
    service: str
    severity: str
    bad: bool
    body: str
    attributes: dict[str, str]


@dataclass(frozen=True, slots=True)
class Span:
    """A span in its place: `left` and `width` of the bar in thousandths of the trace, `depth` in the tree.

    `resource` is an index into the trace's resources.
    """

    span_id: str
    depth: int
    parent_missing: bool
    name: str
    service: str
    colour: int
    kind: str
    status: str
    status_message: str
    scope: str
    start_ns: int
    offset_ns: int
    duration_ns: int
    left: float
    width: float
    attributes: dict[str, str]
    resource: int
    events: list[Event]
    logs: list[LogRecord]
    links: list[tuple[str, str]]

    @property
    def failed(self) -> bool:
        """Whether the span's status is an error."""
        return self.status == "Error"


@dataclass(frozen=True, slots=True)
class Trace:
    """All that a trace's page shows.

    Attributes:
        services: name, spans, colour.
        resources: service and attributes of each distinct resource; a trace repeats the same few on all its spans.
        truncated, logs_truncated: whether there are more spans, more log records than were read.
    """

    trace_id: str
    name: str
    service: str
    start_ns: int
    duration_ns: int
    spans: list[Span]
    logs: list[LogRecord]
    services: list[tuple[str, int, int]]
    resources: list[tuple[str, dict[str, str]]]
    failed: int
    truncated: bool
    logs_truncated: bool


async def read(store: StoreReader, trace_id: str, *, limit: int) -> Trace | None:
    """The trace with this id (32 lower-case hex digits); None when the store has no span of it."""
    window = await store.ask("trace_window", {"trace_id": trace_id})
    if not window:
        return None
    start_s, end_s = window[0]["StartS"], window[0]["EndS"] + 1
    spans = await store.ask("trace_spans", {"trace_id": trace_id, "from_s": start_s, "to_s": end_s, "limit": limit + 1})
    if not spans:
        return None
    last_s = max((row["StartNs"] + row["DurationNs"]) // 10**9 for row in spans)
    logs = await store.ask(
        "trace_logs",
        {
            "trace_id": trace_id,
            "from_s": max(start_s - _LOGS_MARGIN_S, 0),
            "to_s": min(max(last_s, end_s) + _LOGS_MARGIN_S, 2**32 - 1),
            "limit": _LOGS_LIMIT + 1,
        },
    )
    return lay_out(
        trace_id,
        spans[:limit],
        logs[:_LOGS_LIMIT],
        truncated=len(spans) > limit,
        logs_truncated=len(logs) > _LOGS_LIMIT,
    )


def lay_out(
    trace_id: str,
    rows: Sequence[Row],
    log_rows: Sequence[Row],
    *,
    truncated: bool = False,
    logs_truncated: bool = False,
) -> Trace:
    """The waterfall of the span rows (at least one, in order of start) and log rows of a trace."""
    start_ns = min(row["StartNs"] for row in rows)
    duration_ns = max(row["StartNs"] + row["DurationNs"] for row in rows) - start_ns
    logs = [_log(row, start_ns) for row in log_rows]
    by_span: dict[str, list[LogRecord]] = {}
    for log in logs:
        by_span.setdefault(log.span_id, []).append(log)
    known = {row["SpanId"] for row in rows}
    tree = list(_tree(rows))
    # By order of appearance, so that a trace of up to eight services never shows two in one colour.
    services = dict.fromkeys(row["ServiceName"] for row, _ in tree)
    colours = {service: index % COLOURS for index, service in enumerate(services)}
    resources: dict[_ResourceKey, int] = {}
    for row, _ in tree:
        resources.setdefault(_resource_key(row), len(resources))
    spans = [
        _span(row, depth, start_ns, duration_ns, by_span.get(row["SpanId"], []), known, colours, resources)
        for row, depth in tree
    ]
    root = spans[0]
    tally = Counter(span.service for span in spans)
    return Trace(
        trace_id=trace_id,
        name=root.name,
        service=root.service,
        start_ns=start_ns,
        duration_ns=duration_ns,
        spans=spans,
        logs=logs,
        services=[(service, tally[service], colour) for service, colour in colours.items()],
        resources=[(service, dict(pairs)) for service, pairs in resources],
        failed=sum(span.failed for span in spans),
        truncated=truncated,
        logs_truncated=logs_truncated,
    )


def _tree(rows: Sequence[Row]) -> Iterator[tuple[Row, int]]:
    """Rows parents first, siblings by start. What hangs on no root (a cycle, its own parent) comes last."""
    children: dict[str, list[int]] = {}
    known = {row["SpanId"] for row in rows}
    roots = []
    for index, row in enumerate(rows):
        parent = row["ParentSpanId"]
        if parent and parent in known:
            children.setdefault(parent, []).append(index)
        else:
            roots.append(index)
    seen: set[int] = set()
    roots.sort(key=lambda index: (bool(rows[index]["ParentSpanId"]), rows[index]["StartNs"]))
    for first in (*roots, *range(len(rows))):
        waiting = [(first, 0)]
        while waiting:
            index, depth = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            yield rows[index], min(depth, DEPTH_MAX)
            waiting.extend((child, depth + 1) for child in reversed(children.get(rows[index]["SpanId"], [])))


def _span(
    row: Row,
    depth: int,
    start_ns: int,
    total_ns: int,
    logs: list[LogRecord],
    known: set[str],
    colours: Mapping[str, int],
    resources: Mapping[_ResourceKey, int],
) -> Span:
    scale = BAR_UNITS / (total_ns or 1)
    width = min(max(row["DurationNs"] * scale, _BAR_MIN), BAR_UNITS)
    return Span(
        span_id=row["SpanId"],
        depth=depth,
        parent_missing=bool(row["ParentSpanId"]) and row["ParentSpanId"] not in known,
        name=row["SpanName"],
        service=row["ServiceName"],
        colour=colours[row["ServiceName"]],
        kind=row["SpanKind"],
        status=row["StatusCode"],
        status_message=row["StatusMessage"],
        scope=row["ScopeName"],
        start_ns=row["StartNs"],
        offset_ns=row["StartNs"] - start_ns,
        duration_ns=row["DurationNs"],
        left=round(min((row["StartNs"] - start_ns) * scale, BAR_UNITS - width), 1),
        width=round(width, 1),
        attributes=row["Attributes"],
        resource=resources[_resource_key(row)],
        events=[
            Event(at_ns - start_ns, name, attributes)
            for at_ns, name, attributes in zip(
                row["EventTimesNs"], row["EventNames"], row["EventAttributes"], strict=True
            )
        ],
        logs=logs,
        links=list(zip(row["LinkTraceIds"], row["LinkSpanIds"], strict=True)),
    )


def _resource_key(row: Row) -> _ResourceKey:
    return row["ServiceName"], tuple(sorted(row["Resource"].items()))


def _log(row: Row, start_ns: int) -> LogRecord:
    return LogRecord(
        at_ns=row["AtNs"],
        offset_ns=row["AtNs"] - start_ns,
        span_id=row["SpanId"],
        service=row["ServiceName"],
        severity=row["SeverityText"] or (f"severity {row['SeverityNumber']}" if row["SeverityNumber"] else "log"),
        # OTLP logs data model: 17 and up are ERROR and FATAL.
        bad=row["SeverityNumber"] >= 17,
        body=row["Message"],
        attributes=row["Attributes"],
    )
