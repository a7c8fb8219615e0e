-- Minutes without a span, of services that had one in nearly every minute of the hour before the last one.
SELECT service, tenant, (toUInt32($__toTime) - toUInt32(arrayMax(minutes))) / 60 - 1 AS value
FROM
(
    SELECT toString(ServiceName) AS service, toString(TenantId) AS tenant, groupUniqArray(Time) AS minutes
    FROM spans_1m
    WHERE $__timeFilter(Time)
    GROUP BY service, tenant
)
WHERE arrayCount(minute -> minute >= arrayMax(minutes) - 3600, minutes) >= 50
