"""A batch of ExportTraceServiceRequest records to the rows of `otel_traces`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from processors.arena import Arena
from processors.decode import space, spans
from processors.decode.arrow import coded, fixed, lists, numbers, time_values, times
from processors.decode.batch import Context, Decoded, Sizes, Work, faults_of, scan_all
from processors.decode.order import by_service
from processors.decode.strings import Array
from schemas.columns import TRACES
from schemas.log import Record

KINDS = pa.array(["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer", ""])
STATUSES = pa.array(["Unset", "Ok", "Error", ""])


def decode(records: Sequence[Record], arena: Arena, *, marked: bool = False) -> Decoded:
    """Decode the batch; records that break a rule become faults and give no rows.

    The rows live in the arena: they are valid until its next reset.
    """
    state: list[tuple[spans.Spans, spans.Events, spans.Links]] = []

    def scan(work: Work, sizes: Sizes, faults: Array) -> None:
        count = int(work.found.used[0])
        rows = spans.spans(arena, count + 2, sizes[space.ENTRIES])
        event_rows, link_rows = (
            spans.events(arena, sizes[space.EVENTS], sizes[space.EVENT_ENTRIES]),
            spans.links(arena, sizes[space.LINKS], sizes[space.LINK_ENTRIES]),
        )
        state[:] = [(rows, event_rows, link_rows)]
        spans.scan(
            work.buffer,
            work.found,
            by_service(work),
            faults,
            rows,
            event_rows,
            link_rows,
            work.keys,
            work.values,
            work.state,
            work.work,
        )

    work, faults = scan_all(arena, records, scan, marked=marked)
    rows, event_rows, link_rows = state[0]
    count = int(rows.used[0])
    record = rows.record[:count]
    decoded = Decoded(
        items=np.bincount(record, minlength=len(records)),
        faults=faults_of(work, faults, "not a well-formed ExportTraceServiceRequest"),
        marked=work.marked,
    )
    if not count:
        return decoded
    context = Context(work, records)
    shared, received_at = context.shared, context.received_at[record]
    columns = context.columns(rows.scope[:count], record)
    ends, starts = rows.end[:count], rows.start[:count]
    start = time_values(starts, time_values(ends, received_at))
    end = time_values(ends, start)
    duration = np.maximum(end - start, 0).astype(np.uint64)
    columns |= {
        "Timestamp": numbers(start),
        "TraceId": fixed(rows.trace_id, count, 16),
        "SpanId": fixed(rows.span_id, count, 8),
        "ParentSpanId": fixed(rows.parent_id, count, 8),
        "TraceState": shared.views(rows.trace_state, count),
        "SpanName": coded(rows.name[:count], shared.values),
        "SpanKind": coded(rows.kind[:count], KINDS),
        "SpanAttributes": shared.maps(rows.first_attribute, count, rows.attributes),
        "Duration": numbers(duration),
        "StatusCode": coded(rows.status[:count], STATUSES),
        "StatusMessage": shared.views(rows.message, count),
        "SpanFlags": numbers(rows.flags[:count]),
        "DroppedAttributesCount": numbers(rows.dropped[0, :count]),
        "DroppedEventsCount": numbers(rows.dropped[1, :count]),
        "DroppedLinksCount": numbers(rows.dropped[2, :count]),
    }
    columns |= _events(rows, event_rows, count, start, context)
    columns |= _links(rows, link_rows, count, context)
    decoded.tables[TRACES.name] = pa.RecordBatch.from_arrays(
        [columns[name] for name in TRACES.names], list(TRACES.names)
    )
    decoded.record_of_row[TRACES.name] = record
    return decoded


def _events(
    rows: spans.Spans, event_rows: spans.Events, count: int, start: Array, context: Context
) -> dict[str, pa.Array]:
    events, offsets = int(event_rows.used[0]), rows.first_event[: count + 1]
    span_start = np.repeat(start, np.diff(offsets))
    return {
        "Events.Timestamp": lists(offsets, times(event_rows.time[:events], span_start)),
        "Events.Name": lists(offsets, coded(event_rows.name[:events], context.shared.values)),
        "Events.Attributes": lists(
            offsets, context.shared.maps(event_rows.first_attribute, events, event_rows.attributes)
        ),
        "Events.DroppedAttributesCount": lists(offsets, numbers(event_rows.dropped[:events])),
    }


def _links(rows: spans.Spans, link_rows: spans.Links, count: int, context: Context) -> dict[str, pa.Array]:
    links, offsets = int(link_rows.used[0]), rows.first_link[: count + 1]
    return {
        "Links.TraceId": lists(offsets, fixed(link_rows.trace_id, links, 16)),
        "Links.SpanId": lists(offsets, fixed(link_rows.span_id, links, 8)),
        "Links.TraceState": lists(offsets, context.shared.views(link_rows.trace_state, links)),
        "Links.Attributes": lists(offsets, context.shared.maps(link_rows.first_attribute, links, link_rows.attributes)),
        "Links.Flags": lists(offsets, numbers(link_rows.flags[:links])),
        "Links.DroppedAttributesCount": lists(offsets, numbers(link_rows.dropped[:links])),
    }
