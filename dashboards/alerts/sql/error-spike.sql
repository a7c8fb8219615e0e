-- The share of calls into a service that failed in the last five minutes, for reasons of its own, against the hour before
-- and the middle of the same hour of four weeks. Failures that a failed call of the service explains are its callee's.
-- From 10 failures and a share of one in twenty on.
SELECT service, environment, tenant,
    if(own < 10 OR own / calls < 0.05, 0, own / calls / greatest(before, weeks, 0.01)) AS value
FROM
(
    SELECT toString(ServiceName) AS service, toString(Environment) AS environment, toString(TenantId) AS tenant,
        toInt64(sumIf(Calls, entry AND recent)) AS calls,
        toInt64(sumIf(Errors, entry AND recent)) - toInt64(sumIf(Errors, SpanKind = 'Client' AND recent)) AS own,
        greatest(toInt64(sumIf(Errors, entry AND earlier)) - toInt64(sumIf(Errors, SpanKind = 'Client' AND earlier)), 0)
            / greatest(sumIf(Calls, entry AND earlier), 1) AS before,
        quantileExactIf(0.5)(week_share, week > 0) AS weeks
    FROM
    (
        SELECT ServiceName, Environment, TenantId, SpanKind, Calls, Errors, 0 AS week, 0. AS week_share,
            SpanKind IN ('Server', 'Consumer') AS entry, Time > $__toTime - 300 AS recent, NOT recent AS earlier
        FROM spans_1m
        WHERE Time > $__toTime - 3900 AND Time <= $__toTime AND SpanKind IN ('Server', 'Consumer', 'Client')
        UNION ALL
        SELECT ServiceName, Environment, TenantId, '', 0, 0,
            intDiv(toUInt32($__toTime) - toUInt32(Time), 604800) AS week, sum(Errors) / sum(Calls), false, false, false
        FROM spans_1h
        WHERE SpanKind IN ('Server', 'Consumer') AND (Time = toStartOfHour($__toTime) - 604800
            OR Time = toStartOfHour($__toTime) - 1209600 OR Time = toStartOfHour($__toTime) - 1814400
            OR Time = toStartOfHour($__toTime) - 2419200)
        GROUP BY ServiceName, Environment, TenantId, week
    )
    GROUP BY service, environment, tenant
    HAVING calls > 0
)
