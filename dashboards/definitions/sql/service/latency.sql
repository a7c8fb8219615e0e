WITH
-- include: latency_quantile.sql
SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time,
    latency_quantile(sumMap(DurationBuckets), 0.5) AS p50,
    latency_quantile(sumMap(DurationBuckets), 0.95) AS p95,
    latency_quantile(sumMap(DurationBuckets), 0.99) AS p99
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
WHERE ServiceName = ${service:singlequote} AND $__conditionalAll(Environment IN (${environment:singlequote}), $environment)
GROUP BY time
ORDER BY time
