SELECT TraceId AS traceID, ServiceName AS serviceName, SpanName AS operationName, Timestamp AS startTime,
    Duration / 1e6 AS duration, StatusCode AS status
FROM otel_traces
WHERE Timestamp >= toDateTime64($__fromTime, 9) AND Timestamp <= toDateTime64($__toTime, 9)
    -- Where a trace came in, and where it entered the chosen services.
    AND (ParentSpanId = '' OR SpanKind IN ('Server', 'Consumer')) AND $__conditionalAll(ServiceName IN (${service:singlequote}), $service)
ORDER BY Timestamp DESC
LIMIT 1 BY TraceId
LIMIT 100
