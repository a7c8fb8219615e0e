"""A batch of ExportLogsServiceRequest records to the rows of `otel_logs`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from processors.arena import Arena
from processors.decode import log_records, space
from processors.decode.arrow import coded, fixed, numbers, time_values
from processors.decode.batch import Context, Decoded, Sizes, Work, faults_of, scan_all
from processors.decode.order import by_service
from processors.decode.strings import Array
from schemas.columns import LOGS
from schemas.log import Record


def decode(records: Sequence[Record], arena: Arena, *, marked: bool = False) -> Decoded:
    """Decode the batch; records that break a rule become faults and give no rows.

    The rows live in the arena: they are valid until its next reset.
    """
    state: list[log_records.LogRecords] = []

    def scan(work: Work, sizes: Sizes, faults: Array) -> None:
        rows = log_records.log_records(arena, int(work.found.used[0]) + 2, sizes[space.ENTRIES])
        state[:] = [rows]
        log_records.scan(
            work.buffer, work.found, by_service(work), faults, rows, work.keys, work.values, work.state, work.work
        )

    work, faults = scan_all(arena, records, scan, marked=marked)
    rows = state[0]
    count = int(rows.used[0])
    record = rows.record[:count]
    decoded = Decoded(
        items=np.bincount(record, minlength=len(records)),
        faults=faults_of(work, faults, "not a well-formed ExportLogsServiceRequest"),
        marked=work.marked,
    )
    if not count:
        return decoded
    context = Context(work, records)
    shared, received_at = context.shared, context.received_at[record]
    columns = context.columns(rows.scope[:count], record)
    # OTLP logs data model: the time observed stands in for a time that is not known.
    observed = time_values(rows.observed[:count], received_at)
    flags = rows.flags[:count]
    columns |= {
        "Timestamp": numbers(time_values(rows.time[:count], observed)),
        "ObservedTimestamp": numbers(observed),
        "TraceId": fixed(rows.trace_id, count, 16),
        "SpanId": fixed(rows.span_id, count, 8),
        "TraceFlags": numbers((flags & 0xFF).astype(np.uint8)),
        "LogFlags": numbers(flags),
        "SeverityText": coded(rows.severity_text[:count], shared.values),
        "SeverityNumber": numbers(rows.severity[:count]),
        "Body": shared.views(rows.body, count),
        "LogAttributes": shared.maps(rows.first_attribute, count, rows.attributes),
        "EventName": coded(rows.event_name[:count], shared.values),
        "DroppedAttributesCount": numbers(rows.dropped[:count]),
    }
    decoded.tables[LOGS.name] = pa.RecordBatch.from_arrays([columns[name] for name in LOGS.names], list(LOGS.names))
    decoded.record_of_row[LOGS.name] = record
    return decoded
