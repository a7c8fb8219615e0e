WITH
-- include: latency_quantile.sql
SELECT
    ServiceName AS Service,
    sum(Calls) / greatest(toUInt32($__toTime) - toUInt32($__fromTime), 1) AS Rate,
    sum(Errors) / greatest(sum(Calls), 1) AS ErrorShare,
    latency_quantile(sumMap(DurationBuckets), 0.5) AS P50,
    latency_quantile(sumMap(DurationBuckets), 0.95) AS P95,
    latency_quantile(sumMap(DurationBuckets), 0.99) AS P99,
    argMax(SlowTraceId, mapKeys(DurationBuckets)[-1]) AS SlowTrace,
    anyLastIf(FailedTraceId, FailedTraceId != '') AS FailedTrace
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
GROUP BY Service
ORDER BY ErrorShare DESC, Service
LIMIT 500
