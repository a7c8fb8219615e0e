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
    cell.ResourceAttributes AS ResourceAttributes,
    cell.Attributes AS Attributes,
    cell.ZeroThreshold AS ZeroThreshold,
    cell.First AS First,
    cell.Last AS Last,
    cell.Points AS Points,
    cell.DeltaCount AS DeltaCount,
    cell.DeltaSum AS DeltaSum,
    cell.DeltaBuckets AS DeltaBuckets,
    cell.Exemplar AS Exemplar
FROM {database}.exponential_histograms_1m AS cell
