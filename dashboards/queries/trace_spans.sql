-- The spans of one trace in order of start.
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
    AND Timestamp >= toDateTime({from_s:UInt32}) AND Timestamp < toDateTime({to_s:UInt32})
ORDER BY Timestamp, Duration DESC, SpanId
LIMIT {limit:UInt32}
