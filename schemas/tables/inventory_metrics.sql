CREATE VIEW IF NOT EXISTS {database}.inventory_metrics AS
SELECT
    cell.TenantId AS TenantId,
    cell.ServiceName AS ServiceName,
    cell.MetricName AS MetricName,
    cell.Kind AS Kind,
    cell.Unit AS Unit,
    cell.Temporality AS Temporality,
    cell.Monotonic AS Monotonic,
    anyLast(cell.Description) AS Description,
    min(cell.FirstSeen) AS FirstSeen,
    max(cell.LastSeen) AS LastSeen,
    arraySort(groupUniqArrayIf(cell.ServiceVersion, cell.ServiceVersion != '')) AS Versions,
    arraySort(groupUniqArrayIf(cell.Environment, cell.Environment != '')) AS Environments,
    sum(cell.Points) AS DataPoints,
    uniqCombinedMerge(12)(cell.Series) AS Series
FROM {database}.metrics_1d AS cell
GROUP BY TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic
