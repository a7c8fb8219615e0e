CREATE VIEW IF NOT EXISTS {database}.inventory_versions AS
SELECT
    TenantId,
    ServiceName,
    Environment,
    ServiceVersion,
    min(First) AS FirstSeen,
    max(Last) AS LastSeen,
    sum(SpanCount) AS Spans,
    sum(PointCount) AS DataPoints
FROM
(
    SELECT TenantId, ServiceName, Environment, ServiceVersion, min(FirstSeen) AS First, max(LastSeen) AS Last,
        sum(Calls) AS SpanCount, 0 AS PointCount
    FROM {database}.service_cells_1h GROUP BY TenantId, ServiceName, Environment, ServiceVersion
    UNION ALL
    SELECT TenantId, ServiceName, Environment, ServiceVersion, min(FirstSeen), max(LastSeen), 0, sum(Points)
    FROM {database}.metrics_1d GROUP BY TenantId, ServiceName, Environment, ServiceVersion
)
GROUP BY TenantId, ServiceName, Environment, ServiceVersion
