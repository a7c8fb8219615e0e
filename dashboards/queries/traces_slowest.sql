-- The slowest traces through one service, a row a trace: its first span there, its longest, whether one failed.
-- Only the longest spans are looked at, which bounds the query's memory on a wide window.
SELECT
    TraceId,
    toUnixTimestamp64Nano(min(Timestamp)) AS StartNs,
    argMin(SpanName, Timestamp) AS Operation,
    max(Duration) AS DurationNs,
    max(StatusCode = 'Error') AS Failed
FROM (
    SELECT TraceId, Timestamp, SpanName, Duration, StatusCode
    FROM otel_traces
    WHERE ServiceName = {service:String} AND TraceId != ''
        AND Timestamp >= toDateTime64({from_s:UInt32}, 9) AND Timestamp < toDateTime64({to_s:UInt32}, 9)
    ORDER BY Duration DESC
    LIMIT 5000
)
GROUP BY TraceId
ORDER BY DurationNs DESC
LIMIT {limit:UInt32}
