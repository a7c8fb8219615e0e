-- The log records of one trace in order of time.
WITH
-- include: bounded_text.sql
SELECT
    toUnixTimestamp64Nano(Timestamp) AS AtNs,
    SpanId,
    ServiceName,
    SeverityText,
    SeverityNumber,
    bounded_text(Body) AS Message,
    mapApply((key, value) -> (key, bounded_text(value)), LogAttributes) AS Attributes
FROM otel_logs
WHERE TraceId = {trace_id:String}
    AND Timestamp >= toDateTime64({from_s:UInt32}, 9) AND Timestamp < toDateTime64({to_s:UInt32}, 9)
ORDER BY Timestamp, SpanId, Message
LIMIT {limit:UInt32}
