-- The 95th percentile of calls into a service over the last quarter of an hour, against the middle of the same hour of
-- the four weeks before. From 100 calls on, and only where three of the weeks had any.
WITH
    -- include: latency_quantile.sql
SELECT service, tenant, if(arraySum(mapValues(recent)) < 100, 0, latency_quantile(recent, 0.95) / expected) AS value
FROM
(
    SELECT service, tenant, anyIf(buckets, week = 0) AS recent, countIf(week > 0) AS weeks,
        quantileExactIf(0.5)(assumeNotNull(latency_quantile(buckets, 0.95)), week > 0) AS expected
    FROM
    (
        SELECT toString(ServiceName) AS service, toString(TenantId) AS tenant, 0 AS week,
            sumMap(DurationBuckets) AS buckets
        FROM spans_1m
        WHERE Time > $__toTime - 900 AND Time <= $__toTime AND SpanKind IN ('Server', 'Consumer')
        GROUP BY service, tenant
        UNION ALL
        SELECT toString(ServiceName) AS service, toString(TenantId) AS tenant,
            intDiv(toUInt32($__toTime) - toUInt32(Time), 604800) AS week, sumMap(DurationBuckets) AS buckets
        FROM spans_1h
        WHERE SpanKind IN ('Server', 'Consumer') AND (Time = toStartOfHour($__toTime) - 604800
            OR Time = toStartOfHour($__toTime) - 1209600 OR Time = toStartOfHour($__toTime) - 1814400
            OR Time = toStartOfHour($__toTime) - 2419200)
        GROUP BY service, tenant, week
    )
    GROUP BY service, tenant
)
WHERE weeks >= 3
