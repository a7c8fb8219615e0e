-- One service's operations by the time spent in them, calls into the service first, each with its slowest trace and the
-- slowest of those that failed.
WITH
-- include: latency_quantile.sql
SELECT
    SpanName,
    SpanKind,
    toUnixTimestamp(min(Time)) AS FirstSeen,
    sum(Calls) AS OperationCalls,
    sum(Errors) AS OperationErrors,
    sum(DurationSum) AS OperationDuration,
    latency_quantile(sumMap(DurationBuckets), 0.5) AS P50,
    latency_quantile(sumMap(DurationBuckets), 0.95) AS P95,
    latency_quantile(sumMap(DurationBuckets), 0.99) AS P99,
    argMaxMerge(SlowestTrace) AS SlowTraceId,
    argMaxMergeIf(SlowestTrace, StatusCode = 'Error') AS FailedTraceId
FROM spans_1m
WHERE ServiceName = {service:String}
    AND Time >= toDateTime({from_s:UInt32}) AND Time < toDateTime({to_s:UInt32})
GROUP BY SpanName, SpanKind
ORDER BY SpanKind IN ('Server', 'Consumer') DESC, OperationDuration DESC, SpanName
LIMIT {limit:UInt32}
