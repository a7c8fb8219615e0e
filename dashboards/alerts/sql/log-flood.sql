-- Log records of the last five minutes against the same span of the hour before. From 3,000 on.
SELECT service, tenant, if(recent < 3000, 0, recent / greatest(before, 100)) AS value
FROM
(
    SELECT toString(ServiceName) AS service, toString(TenantId) AS tenant,
        sumIf(Records, Time > $__toTime - 300) AS recent, sumIf(Records, Time <= $__toTime - 300) / 12 AS before
    FROM logs_1m
    WHERE Time > $__toTime - 3900 AND Time <= $__toTime
    GROUP BY service, tenant
)
