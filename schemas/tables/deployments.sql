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
        SELECT DISTINCT TenantId, ServiceName, Environment, ServiceVersion, Time
        FROM {database}.service_cells_1m
        -- A day more, to know what ran before.
        WHERE Time >= {{from:DateTime}} - 86400 AND Time < {{to:DateTime}} AND ServiceVersion != ''
            AND (ServiceName, toStartOfHour(Time, 'UTC')) IN
            (
                -- Hours with several versions or another one than in the hour before, and that hour. In all others one
                -- version goes on: no minute of theirs is a deployment, nor the one before or between those that are.
                -- Of tenant and environment there may be more than these, which changes nothing: minutes are sorted by
                -- service and time.
                SELECT ServiceName, Hour
                FROM
                (
                    SELECT
                        *,
                        lagInFrame(Versions) OVER hours AS Before,
                        leadInFrame(Versions, 1, Versions) OVER hours AS After
                    FROM
                    (
                        SELECT TenantId, ServiceName, Environment, Time AS Hour,
                            arraySort(groupUniqArray(ServiceVersion)) AS Versions
                        FROM {database}.service_cells_1h
                        WHERE Time >= toStartOfHour({{from:DateTime}} - 86400, 'UTC') AND Time < {{to:DateTime}}
                            AND ServiceVersion != ''
                        GROUP BY TenantId, ServiceName, Environment, Hour
                    )
                    WINDOW hours AS (PARTITION BY TenantId, ServiceName, Environment ORDER BY Hour
                        ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING)
                )
                WHERE length(Versions) > 1 OR Versions != Before OR Versions != After
            )
    )
    WINDOW running AS (PARTITION BY TenantId, ServiceName, Environment ORDER BY Time, ServiceVersion
        ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
) AS seen
LEFT JOIN
(
    SELECT TenantId, ServiceName, Environment, ServiceVersion, min(Time) AS FirstHour
    FROM {database}.service_cells_1h
    -- Versions that nobody asks about are most of a year's hours, and left out before they are grouped.
    WHERE Time < {{to:DateTime}} AND ServiceVersion IN (
        SELECT ServiceVersion FROM {database}.service_cells_1h WHERE Time > {{from:DateTime}} - 3600 AND Time < {{to:DateTime}})
    GROUP BY TenantId, ServiceName, Environment, ServiceVersion
) AS ever USING (TenantId, ServiceName, Environment, ServiceVersion)
WHERE Time >= {{from:DateTime}} AND if(Itself = 0,
    -- Never seen before.
    ever.FirstHour >= toStartOfHour(Time, 'UTC'),
    -- Back after a quarter of an hour in which another one ran: a rollback. Silence of all versions is none.
    Time - Itself >= 900 AND Latest > Itself AND BeforeIt != ServiceVersion)
