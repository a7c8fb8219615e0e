SELECT
    TraceId AS traceID,
    SpanId AS spanID,
    ParentSpanId AS parentSpanID,
    SpanName AS operationName,
    ServiceName AS serviceName,
    toUnixTimestamp64Nano(Timestamp) * 1e-6 AS startTime,
    Duration * 1e-6 AS duration,
    arrayMap(k -> map('key', k, 'value', SpanAttributes[k]), mapKeys(SpanAttributes)) AS tags,
    arrayMap(k -> map('key', k, 'value', ResourceAttributes[k]), mapKeys(ResourceAttributes)) AS serviceTags,
    multiIf(StatusCode = 'Error', 2, StatusCode = 'Ok', 1, 0) AS statusCode,
    lower(SpanKind) AS kind,
    StatusMessage AS statusMessage,
    ScopeName AS instrumentationLibraryName,
    ScopeVersion AS instrumentationLibraryVersion,
    TraceState AS traceState
FROM otel_traces
WHERE TraceId = ${trace:singlequote}
    AND Timestamp >= (SELECT toDateTime64(min(Start), 9) FROM otel_traces_trace_id_ts WHERE TraceId = ${trace:singlequote})
    AND Timestamp < (SELECT toDateTime64(max(End) + 1, 9) FROM otel_traces_trace_id_ts WHERE TraceId = ${trace:singlequote})
ORDER BY startTime
LIMIT 10000
