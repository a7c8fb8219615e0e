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
    cell.ResourceAttributes AS ResourceAttributes,
    cell.Attributes AS Attributes,
    cell.First AS First,
    cell.Last AS Last,
    cell.Points AS Points,
    cell.Sum AS Sum,
    cell.Min AS Min,
    cell.Max AS Max,
    cell.Exemplar AS Exemplar
FROM {database}.numbers_1m AS cell
