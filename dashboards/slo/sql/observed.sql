-- Calls into each service, its failures and the 99th percentile of their durations, from the hourly rollup.
WITH
-- include: latency_quantile.sql
SELECT toString(ServiceName) AS service, toUInt64(sum(Calls)) AS calls, toUInt64(sum(Errors)) AS errors,
    latency_quantile(sumMap(DurationBuckets), 0.99) AS p99_ns
FROM spans_1h
WHERE Time >= toDateTime({from_s:UInt32}) AND Time < toDateTime({to_s:UInt32}) AND TenantId = ''
    AND SpanKind IN ('Server', 'Consumer')
GROUP BY service
HAVING calls >= {min_calls:UInt64}
ORDER BY service
