-- A version that came within the last hour, against all that ran before it: how many times its 95th percentile, of 50
-- calls or more, and only where it is 20 ms longer.
WITH
    -- include: latency_quantile.sql
SELECT service, environment, version, previous,
    if(arraySum(mapValues(new)) < 50 OR new_p95 - old_p95 < 20000000, 0, new_p95 / old_p95) AS value
FROM
(
    SELECT toString(deployed.ServiceName) AS service, toString(deployed.Environment) AS environment,
        toString(deployed.ServiceVersion) AS version, toString(any(deployed.PreviousVersion)) AS previous,
        sumMapIf(red.DurationBuckets, red.ServiceVersion = version AND red.Time >= deployed.Time) AS new,
        sumMapIf(red.DurationBuckets, red.ServiceVersion != version AND red.Time < deployed.Time) AS old,
        ifNull(latency_quantile(new, 0.95), 0) AS new_p95,
        ifNull(latency_quantile(old, 0.95), 1e18) AS old_p95
    FROM deployments(from = $__fromTime, to = $__toTime) AS deployed
    INNER JOIN service_red_1m(from = $__fromTime - 3600, to = $__toTime) AS red
        ON red.TenantId = deployed.TenantId AND red.ServiceName = deployed.ServiceName
            AND red.Environment = deployed.Environment
    WHERE deployed.PreviousVersion != ''
    GROUP BY deployed.TenantId, service, environment, version
)
