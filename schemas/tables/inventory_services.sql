CREATE VIEW IF NOT EXISTS {database}.inventory_services AS
SELECT
    TenantId,
    ServiceName,
    min(First) AS FirstSeen,
    max(Last) AS LastSeen,
    arraySort(groupUniqArrayIf(ServiceVersion, ServiceVersion != '')) AS Versions,
    arraySort(groupUniqArrayIf(Environment, Environment != '')) AS Environments,
    sum(SpanCount) AS Spans,
    sum(RecordCount) AS LogRecords,
    sum(PointCount) AS DataPoints
FROM
(
    SELECT TenantId, ServiceName, ServiceVersion, Environment, min(FirstSeen) AS First, max(LastSeen) AS Last,
        sum(Calls) AS SpanCount, 0 AS RecordCount, 0 AS PointCount
    FROM {database}.service_cells_1h GROUP BY TenantId, ServiceName, ServiceVersion, Environment
    UNION ALL
    SELECT TenantId, ServiceName, '', '', min(Time), max(Time), 0, sum(Records), 0
    FROM {database}.logs_1m GROUP BY TenantId, ServiceName
    UNION ALL
    SELECT TenantId, ServiceName, ServiceVersion, Environment, min(FirstSeen), max(LastSeen), 0, 0, sum(Points)
    FROM {database}.metrics_1d GROUP BY TenantId, ServiceName, ServiceVersion, Environment
)
GROUP BY TenantId, ServiceName
