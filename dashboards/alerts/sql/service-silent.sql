-- Minutes without a span, up to the newest of any service, of services that had one in nearly every minute of an hour.
-- When nothing arrives at all, no service is silent: then `telemetry-blind` says so.
WITH (SELECT max(Time) FROM spans_1m WHERE $__timeFilter(Time)) AS newest
SELECT service, tenant, (toUInt32(newest) - toUInt32(arrayMax(minutes))) / 60 AS value
FROM
(
    SELECT toString(ServiceName) AS service, toString(TenantId) AS tenant, groupUniqArray(Time) AS minutes
    FROM spans_1m
    WHERE $__timeFilter(Time)
    GROUP BY service, tenant
)
-- One that is quiet every thirtieth minute by chance is quiet four times in a row once in 800,000. One that is back stays
-- in the answer, whatever its hour was like.
WHERE value < 2 OR arrayCount(minute -> minute > arrayMax(minutes) - 3600, minutes) >= 58
