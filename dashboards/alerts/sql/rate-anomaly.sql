-- The last hour's calls against the middle of the same hour of the four weeks before, in either direction.
-- From 600 calls an hour on, and only where three of the weeks had any.
SELECT service, tenant,
    if(expected < 600, 0, greatest(now_calls / expected, expected / greatest(now_calls, 1))) AS value
FROM
(
    SELECT toString(ServiceName) AS service, toString(TenantId) AS tenant,
        sumIf(calls, week = 0) AS now_calls,
        quantileExactIf(0.5)(calls, week > 0) AS expected,
        countIf(week > 0) AS weeks
    FROM
    (
        SELECT ServiceName, TenantId, intDiv(toUInt32($__toTime) - toUInt32(Time), 604800) AS week, sum(Calls) AS calls
        FROM spans_1m
        WHERE SpanKind IN ('Server', 'Consumer') AND (
            (Time >= $__fromTime AND Time < $__toTime)
            OR (Time >= $__fromTime - 604800 AND Time < $__toTime - 604800)
            OR (Time >= $__fromTime - 1209600 AND Time < $__toTime - 1209600)
            OR (Time >= $__fromTime - 1814400 AND Time < $__toTime - 1814400)
            OR (Time >= $__fromTime - 2419200 AND Time < $__toTime - 2419200))
        GROUP BY ServiceName, TenantId, week
    )
    GROUP BY service, tenant
)
WHERE weeks >= 3
