CREATE VIEW IF NOT EXISTS {database}.inventory_operations AS
SELECT
    cell.TenantId AS TenantId,
    cell.ServiceName AS ServiceName,
    cell.SpanName AS SpanName,
    cell.SpanKind AS SpanKind,
    min(cell.FirstSeen) AS FirstSeen,
    max(cell.LastSeen) AS LastSeen,
    arraySort(groupUniqArrayIf(cell.ServiceVersion, cell.ServiceVersion != '')) AS Versions,
    arraySort(groupUniqArrayIf(cell.Environment, cell.Environment != '')) AS Environments,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors
FROM {database}.spans_1h AS cell
GROUP BY TenantId, ServiceName, SpanName, SpanKind
