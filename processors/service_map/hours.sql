-- Hours out of their minutes, whole ones.
INSERT INTO service_edges_1h
    (Time, TenantId, Environment, Client, Server, Kind, Calls, Errors, DurationSum, DurationBuckets, SlowestTrace)
SELECT
    toStartOfHour(Minute, 'UTC') AS Hour,
    TenantId,
    Environment,
    Client,
    Server,
    Kind,
    sum(MostCalls),
    sum(MostErrors),
    sum(LongestSum),
    sumMap(FullBuckets),
    argMaxMergeState(Slowest)
FROM
(
    SELECT
        Time AS Minute,
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
    FROM service_edges_1m
    WHERE Time >= toStartOfHour(toDateTime({from_s:UInt32}, 'UTC'))
        AND Time < toStartOfHour(toDateTime({to_s:UInt32} + 3599, 'UTC'))
    GROUP BY Minute, TenantId, Environment, Client, Server, Kind
)
GROUP BY Hour, TenantId, Environment, Client, Server, Kind
