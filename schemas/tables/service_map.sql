CREATE VIEW IF NOT EXISTS {database}.service_map_{tier} AS
WITH
    -- include: quantile_ns.sql
SELECT
    edge.TenantId AS TenantId,
    edge.Environment AS Environment,
    edge.Client AS Client,
    edge.Server AS Server,
    edge.Kind AS Kind,
    sum(edge.MostCalls) AS Calls,
    sum(edge.MostErrors) AS Errors,
    sum(edge.LongestSum) AS DurationSum,
    sumMap(edge.FullBuckets) AS DurationBuckets,
    quantile_ns(sumMap(edge.FullBuckets), 0.5) AS P50,
    quantile_ns(sumMap(edge.FullBuckets), 0.95) AS P95,
    quantile_ns(sumMap(edge.FullBuckets), 0.99) AS P99,
    argMaxMerge(edge.Slowest) AS SlowTraceId
FROM
(
    -- A cell is written again, and whole, whenever a span of it came later: its largest figures are its last.
    SELECT
        Time,
        TenantId,
        Environment,
        Client,
        Server,
        Kind,
        max(Calls) AS MostCalls,
        max(Errors) AS MostErrors,
        max(DurationSum) AS LongestSum,
        maxMap(DurationBuckets) AS FullBuckets,
        argMaxMergeState(SlowestTrace) AS Slowest
    FROM {database}.service_edges_{tier}
    WHERE Time >= {{from:DateTime}} AND Time < {{to:DateTime}}
    GROUP BY Time, TenantId, Environment, Client, Server, Kind
) AS edge
-- An address where a service of ours answered is not outside.
WHERE edge.Kind != 'host' OR (edge.TenantId, toString(edge.Server)) NOT IN (
    SELECT TenantId, Address FROM {database}.service_addresses)
GROUP BY TenantId, Environment, Client, Server, Kind
