-- A version that came within the last hour, against all that ran before it: how many times its share of failed calls.
-- From 50 calls on, and a share of one in a hundred, so that a first failure is no regression.
SELECT toString(came.ServiceName) AS service, toString(came.Environment) AS environment,
    toString(came.ServiceVersion) AS version, toString(came.PreviousVersion) AS previous,
    if(new_calls < 50 OR new_errors / new_calls < 0.01, 0,
        (new_errors / new_calls) / greatest(old_errors / greatest(old_calls, 1), 0.001)) AS value
FROM
(
    SELECT deployed.TenantId AS TenantId, deployed.ServiceName AS ServiceName, deployed.Environment AS Environment,
        deployed.ServiceVersion AS ServiceVersion, any(deployed.PreviousVersion) AS PreviousVersion,
        sumIf(red.Calls, red.ServiceVersion = deployed.ServiceVersion AND red.Time >= deployed.Time) AS new_calls,
        sumIf(red.Errors, red.ServiceVersion = deployed.ServiceVersion AND red.Time >= deployed.Time) AS new_errors,
        sumIf(red.Calls, red.ServiceVersion != deployed.ServiceVersion AND red.Time < deployed.Time) AS old_calls,
        sumIf(red.Errors, red.ServiceVersion != deployed.ServiceVersion AND red.Time < deployed.Time) AS old_errors
    FROM deployments(from = $__fromTime, to = $__toTime) AS deployed
    INNER JOIN service_red_1m(from = $__fromTime - 3600, to = $__toTime) AS red
        ON red.TenantId = deployed.TenantId AND red.ServiceName = deployed.ServiceName
            AND red.Environment = deployed.Environment
    WHERE deployed.PreviousVersion != ''
    GROUP BY TenantId, ServiceName, Environment, ServiceVersion
) AS came
