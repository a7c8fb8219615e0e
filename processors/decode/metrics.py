"""A batch of ExportMetricsServiceRequest records to the rows of the five metric tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from processors.arena import Arena
from processors.decode import metric_headers, points, space
from processors.decode.arrow import coded, fixed, lists, numbers, time_values, times
from processors.decode.batch import Context, Decoded, Sizes, Work, faults_of, scan_all
from processors.decode.strings import Array
from schemas.columns import EXPONENTIAL_HISTOGRAM, GAUGE, HISTOGRAM, SUM, SUMMARY, Table
from schemas.log import Record

_TABLES: tuple[Table, ...] = (GAUGE, SUM, HISTOGRAM, EXPONENTIAL_HISTOGRAM, SUMMARY)


@dataclass(slots=True)
class _Rows:
    headers: metric_headers.Metrics
    of_kind: list[tuple[points.Points, points.Exemplars]]


def decode(records: Sequence[Record], arena: Arena, *, marked: bool = False) -> Decoded:
    """Decode the batch; records that break a rule become faults and give no rows in any table.

    The rows live in the arena: they are valid until its next reset.
    """
    state: list[_Rows] = []

    def scan(work: Work, sizes: Sizes, faults: Array) -> None:
        headers = metric_headers.metrics(arena, len(records), sizes[space.METRICS] * (int(work.found.used[0]) + 1))
        state[:] = [_Rows(headers, [])]
        metric_headers.scan_metrics(work.buffer, work.found, faults, headers, work.values, work.state)
        for kind in range(metric_headers.KINDS):
            if work.overflown:
                return
            rows, exemplar_rows = _room(arena, headers, kind, sizes)
            state[0].of_kind.append((rows, exemplar_rows))
            points.scan_points(
                work.buffer, faults, headers, kind, rows, exemplar_rows, work.keys, work.state, work.work
            )

    work, faults = scan_all(arena, records, scan, marked=marked)
    decoded = Decoded(
        items=np.zeros(len(records), np.int64),
        faults=faults_of(work, faults, "not a well-formed ExportMetricsServiceRequest"),
        marked=work.marked,
    )
    context: Context | None = None
    for kind, table in enumerate(_TABLES):
        rows, exemplar_rows = state[0].of_kind[kind]
        count = int(rows.used[0])
        if not count:
            continue
        context = context or Context(work, records)
        record = rows.record[:count]
        columns = _common(context, work, state[0].headers, rows, count) | _own(kind, rows, count)
        if table is not SUMMARY:
            columns |= _exemplars(context, rows, exemplar_rows, count)
        decoded.items += np.bincount(record, minlength=len(records))
        decoded.tables[table.name] = pa.RecordBatch.from_arrays(
            [columns[name] for name in table.names], list(table.names)
        )
        decoded.record_of_row[table.name] = record
    return decoded


def _room(
    arena: Arena, headers: metric_headers.Metrics, kind: int, sizes: Sizes
) -> tuple[points.Points, points.Exemplars]:
    count = int(headers.used[0])
    mine = headers.kind[:count] == kind
    value_bytes = int((headers.stop[:count] - headers.start[:count])[mine].sum())

    def room(number: int, bytes_each: int) -> int:
        return sizes[number] * (value_bytes // bytes_each + 64)

    return (
        points.points(arena, room(space.POINTS, 24), room(space.POINT_ENTRIES, 12), room(space.BUCKETS, 6)),
        points.exemplars(arena, room(space.EXEMPLARS, 40), room(space.EXEMPLAR_ENTRIES, 40)),
    )


def _common(
    context: Context, work: Work, headers: metric_headers.Metrics, rows: points.Points, count: int
) -> dict[str, pa.Array]:
    record, metric = rows.record[:count], rows.metric[:count]
    columns = context.columns(work.found.scope[headers.item[metric]], record)
    columns["ScopeDroppedAttrCount"] = columns.pop("ScopeDroppedAttributesCount")
    shared = context.shared
    time = time_values(rows.time[:count], context.received_at[record])
    return columns | {
        "MetricName": coded(headers.name[metric], shared.values),
        "MetricDescription": coded(headers.description[metric], shared.values),
        "MetricUnit": coded(headers.unit[metric], shared.values),
        "Attributes": shared.maps(rows.first_attribute, count, rows.attributes),
        # A start that is not known stays 0, as in the exporter: OTLP gives it that meaning.
        "StartTimeUnix": times(rows.start[:count], np.zeros(count, np.int64)),
        "TimeUnix": numbers(time),
        "Flags": numbers(rows.flags[:count]),
        "AggregationTemporality": numbers(headers.temporality[metric]),
        "IsMonotonic": numbers(headers.monotonic[metric]),
    }


def _own(kind: int, rows: points.Points, count: int) -> dict[str, pa.Array]:
    if kind in (metric_headers.GAUGE, metric_headers.SUM):
        return {
            "Value": numbers(rows.value[:count]),
            "ValueInt": numbers(rows.integer[:count]),
            "IsInt": numbers(rows.is_integer[:count]),
        }
    present = rows.present[:count]
    buckets = rows.buckets.values[: int(rows.buckets.used[0])]
    others = rows.others.values[: int(rows.others.used[0])]
    first, second = rows.first[0, : count + 1], rows.first[1, : count + 1]
    columns = {
        "Count": numbers(rows.total[:count]),
        "Sum": numbers(rows.sum[:count]),
        "Min": numbers(rows.minimum[:count]),
        "Max": numbers(rows.maximum[:count]),
        "HasSum": numbers((present & points.HAS_SUM).astype(np.uint8)),
        "HasMin": numbers(((present & points.HAS_MIN) != 0).astype(np.uint8)),
        "HasMax": numbers(((present & points.HAS_MAX) != 0).astype(np.uint8)),
    }
    if kind == metric_headers.HISTOGRAM:
        return columns | {
            "BucketCounts": lists(first, numbers(buckets)),
            "ExplicitBounds": lists(second, numbers(others.view(np.float64))),
        }
    if kind == metric_headers.SUMMARY:
        return columns | {
            "ValueAtQuantiles.Quantile": lists(first, numbers(buckets.view(np.float64))),
            "ValueAtQuantiles.Value": lists(second, numbers(others.view(np.float64))),
        }
    return columns | {
        "Scale": numbers(rows.scale[:count]),
        "ZeroCount": numbers(rows.zeroes[:count]),
        "ZeroThreshold": numbers(rows.threshold[:count]),
        "PositiveOffset": numbers(rows.side_offset[0, :count]),
        "PositiveBucketCounts": lists(first, numbers(buckets)),
        "NegativeOffset": numbers(rows.side_offset[1, :count]),
        "NegativeBucketCounts": lists(second, numbers(others)),
    }


def _exemplars(
    context: Context, rows: points.Points, exemplar_rows: points.Exemplars, count: int
) -> dict[str, pa.Array]:
    found, offsets = int(exemplar_rows.used[0]), rows.first_exemplar[: count + 1]
    point_time = np.repeat(time_values(rows.time[:count], context.received_at[rows.record[:count]]), np.diff(offsets))
    return {
        "Exemplars.FilteredAttributes": lists(
            offsets, context.shared.maps(exemplar_rows.first_attribute, found, exemplar_rows.attributes)
        ),
        "Exemplars.TimeUnix": lists(offsets, times(exemplar_rows.time[:found], point_time)),
        "Exemplars.Value": lists(offsets, numbers(exemplar_rows.value[:found])),
        "Exemplars.SpanId": lists(offsets, fixed(exemplar_rows.span_id, found, 8)),
        "Exemplars.TraceId": lists(offsets, fixed(exemplar_rows.trace_id, found, 16)),
    }
