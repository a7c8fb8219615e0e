-- The spans of one trace in order of start.
-- Times are compared with times of their own precision: against a DateTime, index analysis of this engine drops rows of the
-- last second.
WITH
-- include: bounded_text.sql
SELECT
    SpanId,
    ParentSpanId,
    ServiceName,
    SpanName,
    SpanKind,
    StatusCode,
    bounded_text(StatusMessage) AS StatusMessage,
    toUnixTimestamp64Nano(Timestamp) AS StartNs,
    Duration AS DurationNs,
    ScopeName,
    mapApply((key, value) -> (key, bounded_text(value)), SpanAttributes) AS Attributes,
    mapApply((key, value) -> (toString(key), bounded_text(toString(value))), ResourceAttributes) AS Resource,
    arrayMap(at -> toUnixTimestamp64Nano(at), Events.Timestamp) AS EventTimesNs,
    Events.Name AS EventNames,
    arrayMap(one -> mapApply((key, value) -> (key, bounded_text(value)), one), Events.Attributes) AS EventAttributes,
    Links.TraceId AS LinkTraceIds,
    Links.SpanId AS LinkSpanIds
FROM otel_traces
WHERE TraceId = {trace_id:String}
    AND Timestamp >= toDateTime64({from_s:UInt32}, 9) AND Timestamp < toDateTime64({to_s:UInt32}, 9)
ORDER BY Timestamp, Duration DESC, SpanId
LIMIT {limit:UInt32}
