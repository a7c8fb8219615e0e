CREATE VIEW IF NOT EXISTS {database}.deployments AS
SELECT
    seen.Time AS Time,
    seen.TenantId AS TenantId,
    seen.ServiceName AS ServiceName,
    seen.Environment AS Environment,
    seen.ServiceVersion AS ServiceVersion,
    seen.BeforeIt AS PreviousVersion,
    seen.Itself != 0 AS Returned
FROM
(
    SELECT
        *,
        lagInFrame(Time) OVER (PARTITION BY TenantId, ServiceName, Environment, ServiceVersion ORDER BY Time
            ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) AS Itself,
        lagInFrame(Time) OVER running AS Latest,
        lagInFrame(ServiceVersion) OVER running AS BeforeIt
    FROM
    (
        SELECT DISTINCT TenantId, ServiceName, Environment, toString(ServiceVersion) AS ServiceVersion, Time
        FROM {database}.spans_1m
        -- A day more, to know what ran before.
        WHERE Time >= {{from:DateTime}} - 86400 AND Time < {{to:DateTime}} AND ServiceVersion != ''
    )
    WINDOW running AS (PARTITION BY TenantId, ServiceName, Environment ORDER BY Time, ServiceVersion
        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
) AS seen
LEFT JOIN
(
    SELECT TenantId, ServiceName, Environment, toString(ServiceVersion) AS ServiceVersion, min(FirstSeen) AS FirstSeen
    FROM {database}.spans_1h
    GROUP BY TenantId, ServiceName, Environment, ServiceVersion
) AS ever USING (TenantId, ServiceName, Environment, ServiceVersion)
WHERE Time >= {{from:DateTime}} AND if(Itself = 0,
    -- Never seen before; hours that an earlier release wrote know only the hour.
    ever.FirstSeen >= toStartOfHour(Time, 'UTC'),
    -- Back after a quarter of an hour in which another one ran: a rollback. Silence of all versions is none.
    Time - Itself >= 900 AND Latest > Itself AND BeforeIt != ServiceVersion)
