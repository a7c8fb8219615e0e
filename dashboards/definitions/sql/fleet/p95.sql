WITH
-- include: latency_quantile.sql
SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time, ServiceName AS service,
    latency_quantile(sumMap(DurationBuckets), 0.95) AS p95
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
GROUP BY time, service
ORDER BY time, service
