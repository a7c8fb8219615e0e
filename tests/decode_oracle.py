"""What the store's rows of OTLP requests must be, by plain Python over the protobuf library's objects.

Written from the OTLP protocol files and the values of the OpenTelemetry ClickHouse exporter, one object at a time, and
sharing nothing with the decoder but the names of tables and columns.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

from ingest.wire_schema import REQUESTS
from schemas.log import Record
from schemas.signals import Signal

Row = dict[str, Any]
KINDS = ("Unspecified", "Internal", "Server", "Client", "Producer", "Consumer")
STATUSES = ("Unset", "Ok", "Error")
TABLE_OF_DATA = {
    "gauge": "otel_metrics_gauge",
    "sum": "otel_metrics_sum",
    "histogram": "otel_metrics_histogram",
    "exponential_histogram": "otel_metrics_exponential_histogram",
    "summary": "otel_metrics_summary",
}


def shortest(value: float) -> str:
    """A finite double as ECMAScript's Number::toString writes it, from the digits of Python's repr."""
    if value == 0:
        return "-0" if math.copysign(1, value) < 0 else "0"
    mantissa, _, exponent = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = int(exponent or 0) + len(whole)
    if whole == "0":
        point -= 1 + len(fraction) - len(fraction.lstrip("0"))
    digits = digits.rstrip("0")
    sign = "-" if value < 0 else ""
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits))
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = point - 1
    tail = "." + digits[1:] if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if power > 0 else '-'}{abs(power)}"


def number_text(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    return shortest(value)


def json_string(text: str) -> str:
    escaped = json.dumps(text, ensure_ascii=False)
    return escaped.replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


class Encoded(str):
    """A value as it is stored, and `plain`: the same with bytes that are UTF-8 text spelled out, not in base64."""

    plain: str


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def spelled_out(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return in_base64(data)


def json_text(value: Any, of_bytes: Callable[[bytes], str] = in_base64) -> str:
    match value.WhichOneof("value"):
        case None | "string_value_strindex":
            return "null"
        case "string_value":
            return json_string(value.string_value)
        case "array_value":
            return "[" + ",".join(json_text(item, of_bytes) for item in value.array_value.values) + "]"
        case "kvlist_value":
            entries = {item.key: item.value for item in value.kvlist_value.values}
            ordered = sorted(entries.items(), key=lambda entry: entry[0].encode())
            return "{" + ",".join(f"{json_string(key)}:{json_text(item, of_bytes)}" for key, item in ordered) + "}"
        case "bytes_value":
            return json_string(of_bytes(value.bytes_value))
        case "double_value" if not math.isfinite(value.double_value):
            return json_string(number_text(value.double_value))
        case _:
            return _text(value, of_bytes)


def text(value: Any) -> str:
    """An AnyValue as the exporter's text."""
    stored, plain = Encoded(_text(value, in_base64)), _text(value, spelled_out)
    stored.plain = plain
    return stored if plain != stored else plain


def _text(value: Any, of_bytes: Callable[[bytes], str]) -> str:
    match value.WhichOneof("value"):
        case "string_value":
            return str(value.string_value)
        case "int_value":
            return str(value.int_value)
        case "double_value":
            return number_text(value.double_value)
        case "bool_value":
            return "true" if value.bool_value else "false"
        case "bytes_value":
            return of_bytes(value.bytes_value)
        case "array_value" | "kvlist_value":
            return json_text(value, of_bytes)
        case _:
            return ""


def attributes(entries: Any) -> list[tuple[str, str]]:
    """Entries in the order of their keys' bytes; equal keys keep their order."""
    return sorted(((entry.key, text(entry.value)) for entry in entries), key=lambda entry: entry[0].encode())


def first_of(entries: Any, *names: str) -> str:
    for name in names:
        for entry in entries:
            if entry.key == name:
                return text(entry.value)
    return ""


def hex_id(value: bytes) -> str:
    return value.hex() if any(value) else ""


def time_or(value: int, fallback: int) -> int:
    return value if 0 < value < 2**63 else fallback


def duration_bucket(duration_ns: int) -> int:
    """The largest i with 2^(i/8) <= duration, exactly."""
    bucket = 0
    while Fraction(2) ** (bucket + 1) <= Fraction(max(duration_ns, 1)) ** 8:
        bucket += 1
    return bucket


def _common(record: Record, group: Any, scope_group: Any) -> Row:
    resource, scope = group.resource, scope_group.scope
    return {
        "TenantId": record.tenant,
        "ServiceName": first_of(resource.attributes, "service.name"),
        "ServiceVersion": first_of(resource.attributes, "service.version"),
        "Environment": first_of(resource.attributes, "deployment.environment.name", "deployment.environment"),
        "ResourceAttributes": attributes(resource.attributes),
        "ResourceSchemaUrl": group.schema_url,
        "ResourceDroppedAttributesCount": resource.dropped_attributes_count,
        "ScopeName": scope.name,
        "ScopeVersion": scope.version,
        "ScopeAttributes": attributes(scope.attributes),
        "ScopeSchemaUrl": scope_group.schema_url,
        "ScopeDroppedAttributesCount": scope.dropped_attributes_count,
    }


def _span(record: Record, span: Any) -> Row:
    end = time_or(span.end_time_unix_nano, record.received_at_ns)
    start = time_or(span.start_time_unix_nano, end)
    end = time_or(span.end_time_unix_nano, start)
    duration = max(end - start, 0)
    return {
        "Timestamp": start,
        "TraceId": hex_id(span.trace_id),
        "SpanId": hex_id(span.span_id),
        "ParentSpanId": hex_id(span.parent_span_id),
        "TraceState": span.trace_state,
        "SpanName": span.name,
        "SpanKind": KINDS[span.kind] if 0 <= span.kind < len(KINDS) else "",
        "SpanAttributes": attributes(span.attributes),
        "Duration": duration,
        "StatusCode": STATUSES[span.status.code] if 0 <= span.status.code < len(STATUSES) else "",
        "StatusMessage": span.status.message,
        "SpanFlags": span.flags,
        "DroppedAttributesCount": span.dropped_attributes_count,
        "DroppedEventsCount": span.dropped_events_count,
        "DroppedLinksCount": span.dropped_links_count,
        "DurationBucket": duration_bucket(duration),
        "Events.Timestamp": [time_or(event.time_unix_nano, start) for event in span.events],
        "Events.Name": [event.name for event in span.events],
        "Events.Attributes": [attributes(event.attributes) for event in span.events],
        "Events.DroppedAttributesCount": [event.dropped_attributes_count for event in span.events],
        "Links.TraceId": [hex_id(link.trace_id) for link in span.links],
        "Links.SpanId": [hex_id(link.span_id) for link in span.links],
        "Links.TraceState": [link.trace_state for link in span.links],
        "Links.Attributes": [attributes(link.attributes) for link in span.links],
        "Links.Flags": [link.flags for link in span.links],
        "Links.DroppedAttributesCount": [link.dropped_attributes_count for link in span.links],
    }


def _log_record(record: Record, log: Any) -> Row:
    observed = time_or(log.observed_time_unix_nano, record.received_at_ns)
    return {
        "Timestamp": time_or(log.time_unix_nano, observed),
        "ObservedTimestamp": observed,
        "TraceId": hex_id(log.trace_id),
        "SpanId": hex_id(log.span_id),
        "TraceFlags": log.flags & 0xFF,
        "LogFlags": log.flags,
        "SeverityText": log.severity_text,
        "SeverityNumber": log.severity_number & 0xFF,
        "Body": text(log.body),
        "LogAttributes": attributes(log.attributes),
        "EventName": log.event_name,
        "DroppedAttributesCount": log.dropped_attributes_count,
    }


def _number(point: Any) -> tuple[float, int, bool]:
    kind = point.WhichOneof("value")
    if kind == "as_int":
        return float(point.as_int), point.as_int, True
    return (point.as_double if kind else 0.0), 0, False


def _exemplars(point: Any, time: int) -> Row:
    return {
        "Exemplars.FilteredAttributes": [attributes(each.filtered_attributes) for each in point.exemplars],
        "Exemplars.TimeUnix": [time_or(each.time_unix_nano, time) for each in point.exemplars],
        "Exemplars.Value": [_number(each)[0] for each in point.exemplars],
        "Exemplars.SpanId": [hex_id(each.span_id) for each in point.exemplars],
        "Exemplars.TraceId": [hex_id(each.trace_id) for each in point.exemplars],
    }


def _presence(point: Any) -> Row:
    return {
        "Count": point.count, "Sum": point.sum, "Min": point.min, "Max": point.max,
        "HasSum": point.HasField("sum"), "HasMin": point.HasField("min"), "HasMax": point.HasField("max"),
    }  # fmt: skip


def _point(record: Record, metric: Any, kind: str, point: Any) -> Row:
    time = time_or(point.time_unix_nano, record.received_at_ns)
    data = getattr(metric, kind)
    row: Row = {
        "MetricName": metric.name,
        "MetricDescription": metric.description,
        "MetricUnit": metric.unit,
        "Attributes": attributes(point.attributes),
        "StartTimeUnix": time_or(point.start_time_unix_nano, 0),
        "TimeUnix": time,
        "Flags": point.flags,
    }
    if kind != "summary":
        row |= _exemplars(point, time)
    if kind not in ("gauge", "summary"):
        row["AggregationTemporality"] = data.aggregation_temporality
    match kind:
        case "gauge" | "sum":
            row["Value"], row["ValueInt"], row["IsInt"] = _number(point)
            if kind == "sum":
                row["IsMonotonic"] = data.is_monotonic
        case "histogram":
            row |= _presence(point)
            row |= {"BucketCounts": list(point.bucket_counts), "ExplicitBounds": list(point.explicit_bounds)}
        case "exponential_histogram":
            row |= _presence(point)
            row |= {
                "Scale": point.scale, "ZeroCount": point.zero_count, "ZeroThreshold": point.zero_threshold,
                "PositiveOffset": point.positive.offset, "PositiveBucketCounts": list(point.positive.bucket_counts),
                "NegativeOffset": point.negative.offset, "NegativeBucketCounts": list(point.negative.bucket_counts),
            }  # fmt: skip
        case "summary":
            row |= {
                "Count": point.count, "Sum": point.sum,
                "ValueAtQuantiles.Quantile": [each.quantile for each in point.quantile_values],
                "ValueAtQuantiles.Value": [each.value for each in point.quantile_values],
            }  # fmt: skip
    return row


def _rows(signal: Signal, record: Record) -> Iterator[tuple[str, Row]]:
    request = REQUESTS[signal].FromString(record.value)
    if signal is Signal.TRACES:
        for group in request.resource_spans:
            for scope in group.scope_spans:
                for span in scope.spans:
                    yield "otel_traces", _common(record, group, scope) | _span(record, span)
    elif signal is Signal.LOGS:
        for group in request.resource_logs:
            for scope in group.scope_logs:
                for log in scope.log_records:
                    yield "otel_logs", _common(record, group, scope) | _log_record(record, log)
    else:
        for group in request.resource_metrics:
            for scope in group.scope_metrics:
                common = _common(record, group, scope)
                common["ScopeDroppedAttrCount"] = common.pop("ScopeDroppedAttributesCount")
                for metric in scope.metrics:
                    kind = metric.WhichOneof("data")
                    for point in getattr(metric, kind).data_points if kind else ():
                        yield TABLE_OF_DATA[kind], common | _point(record, metric, kind, point)


def rows(signal: Signal, records: Sequence[Record]) -> dict[str, list[Row]]:
    """The rows of each table, in the order of the batch, spans and log records by service; empty tables are absent.

    Raises:
        google.protobuf.message.DecodeError: a record is no protobuf.
    """
    tables: dict[str, list[Row]] = {}
    for record in records:
        for table, row in _rows(signal, record):
            tables.setdefault(table, []).append(row)
    if signal is not Signal.METRICS:
        # As the store sorts what lies within five minutes.
        for found in tables.values():
            found.sort(key=lambda row: row["ServiceName"].encode())
    return tables
