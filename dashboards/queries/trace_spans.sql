-- The spans of one trace in order of start.
-- Times are compared with times of their own precision: against a DateTime, index analysis of this engine drops rows of the
-- last second.
SELECT
    SpanId,
    ParentSpanId,
    ServiceName,
    SpanName,
    SpanKind,
    StatusCode,
    StatusMessage,
    toUnixTimestamp64Nano(Timestamp) AS StartNs,
    Duration AS DurationNs,
    ScopeName,
    SpanAttributes,
    ResourceAttributes,
    arrayMap(at -> toUnixTimestamp64Nano(at), Events.Timestamp) AS EventTimesNs,
    Events.Name AS EventNames,
    Events.Attributes AS EventAttributes,
    Links.TraceId AS LinkTraceIds,
    Links.SpanId AS LinkSpanIds
FROM otel_traces
WHERE TraceId = {trace_id:String}
    AND Timestamp >= toDateTime64({from_s:UInt32}, 9) AND Timestamp < toDateTime64({to_s:UInt32}, 9)
ORDER BY Timestamp, Duration DESC, SpanId
LIMIT {limit:UInt32}
