-- Calls to what reports nothing itself (databases, queues, hosts outside) that failed in the last five minutes, against
-- the hour before. From 10 failures and a share of one in twenty on.
SELECT service, environment, tenant, dependency,
    if(bad < 10 OR bad / calls < 0.05, 0, bad / calls / greatest(before, 0.01)) AS value
FROM
(
    SELECT toString(edge.Client) AS service, toString(edge.Environment) AS environment, toString(edge.TenantId) AS tenant,
        toString(edge.Server) AS dependency, sumIf(edge.Calls, recent) AS calls, sumIf(edge.Errors, recent) AS bad,
        sumIf(edge.Errors, NOT recent) / greatest(sumIf(edge.Calls, NOT recent), 1) AS before
    FROM
    (
        SELECT *, true AS recent FROM service_map_1m(from = $__toTime - 299, to = $__toTime + 1)
        UNION ALL
        SELECT *, false AS recent FROM service_map_1m(from = $__toTime - 3900, to = $__toTime - 299)
    ) AS edge
    WHERE edge.Kind IN ('database', 'queue', 'host')
    GROUP BY service, environment, tenant, dependency
)
