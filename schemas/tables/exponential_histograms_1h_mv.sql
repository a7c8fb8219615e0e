CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.exponential_histograms_1h_mv TO {database}.exponential_histograms_1h AS
SELECT
    toStartOfHour(cell.Time, 'UTC') AS Time,
    TenantId,
    ServiceName,
    MetricName,
    SeriesId,
    StartTime,
    Unit,
    Temporality,
    Scale,
    any(cell.ResourceAttributes) AS ResourceAttributes,
    any(cell.Attributes) AS Attributes,
    max(cell.ZeroThreshold) AS ZeroThreshold,
    min(cell.First) AS First,
    max(cell.Last) AS Last,
    sum(cell.Points) AS Points,
    sum(cell.DeltaCount) AS DeltaCount,
    sum(cell.DeltaSum) AS DeltaSum,
    sumMap(cell.DeltaBuckets) AS DeltaBuckets,
    argMaxArrayMergeState(cell.Exemplar) AS Exemplar
FROM {database}.exponential_histograms_1m AS cell
GROUP BY Time, TenantId, ServiceName, MetricName, SeriesId, StartTime, Unit, Temporality, Scale
