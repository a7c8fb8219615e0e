CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.histograms_1h_mv TO {database}.histograms_1h AS
SELECT
    toStartOfHour(cell.Time, 'UTC') AS Time,
    TenantId,
    ServiceName,
    MetricName,
    SeriesId,
    StartTime,
    Unit,
    Temporality,
    any(cell.ResourceAttributes) AS ResourceAttributes,
    any(cell.Attributes) AS Attributes,
    any(cell.Bounds) AS Bounds,
    min(cell.First) AS First,
    max(cell.Last) AS Last,
    sum(cell.Points) AS Points,
    sum(cell.DeltaCount) AS DeltaCount,
    sum(cell.DeltaSum) AS DeltaSum,
    sumForEachMergeState(cell.DeltaBuckets) AS DeltaBuckets,
    argMaxArrayMergeState(cell.Exemplar) AS Exemplar
FROM {database}.histograms_1m AS cell
GROUP BY Time, TenantId, ServiceName, MetricName, SeriesId, StartTime, Unit, Temporality
