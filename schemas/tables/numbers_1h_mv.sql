CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.numbers_1h_mv TO {database}.numbers_1h AS
SELECT
    toStartOfHour(cell.Time, 'UTC') AS Time,
    TenantId,
    ServiceName,
    MetricName,
    SeriesId,
    StartTime,
    Kind,
    Unit,
    Temporality,
    Monotonic,
    any(cell.ResourceAttributes) AS ResourceAttributes,
    any(cell.Attributes) AS Attributes,
    min(cell.First) AS First,
    max(cell.Last) AS Last,
    sum(cell.Points) AS Points,
    sum(cell.Sum) AS Sum,
    min(cell.Min) AS Min,
    max(cell.Max) AS Max,
    argMaxArrayMergeState(cell.Exemplar) AS Exemplar
FROM {database}.numbers_1m AS cell
GROUP BY Time, TenantId, ServiceName, MetricName, SeriesId, StartTime, Kind, Unit, Temporality, Monotonic
