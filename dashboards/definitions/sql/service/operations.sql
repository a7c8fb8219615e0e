WITH
-- include: latency_quantile.sql
SELECT
    SpanName AS Operation,
    SpanKind AS Kind,
    sum(Calls) / greatest(toUInt32($__toTime) - toUInt32($__fromTime), 1) AS Rate,
    sum(Errors) / greatest(sum(Calls), 1) AS ErrorShare,
    latency_quantile(sumMap(DurationBuckets), 0.5) AS P50,
    latency_quantile(sumMap(DurationBuckets), 0.95) AS P95,
    latency_quantile(sumMap(DurationBuckets), 0.99) AS P99,
    argMaxMerge(SlowestTrace) AS SlowTrace,
    argMaxMergeIf(SlowestTrace, StatusCode = 'Error') AS FailedTrace
FROM spans_1m
WHERE ServiceName = ${service:singlequote} AND $__timeFilter(Time)
    AND $__conditionalAll(Environment IN (${environment:singlequote}), $environment)
GROUP BY Operation, Kind
ORDER BY sum(DurationSum) DESC
LIMIT 200
