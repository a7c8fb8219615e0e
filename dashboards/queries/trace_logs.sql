-- The log records of one trace in order of time.
SELECT
    toUnixTimestamp64Nano(Timestamp) AS AtNs,
    SpanId,
    ServiceName,
    SeverityText,
    SeverityNumber,
    Body,
    LogAttributes
FROM otel_logs
WHERE TraceId = {trace_id:String}
    AND Timestamp >= toDateTime64({from_s:UInt32}, 9) AND Timestamp < toDateTime64({to_s:UInt32}, 9)
ORDER BY Timestamp, SpanId, Body
LIMIT {limit:UInt32}
