CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.spans_1h_mv TO {database}.spans_1h AS
SELECT
    toStartOfHour(cell.Time, 'UTC') AS Time,
    TenantId,
    ServiceName,
    SpanName,
    SpanKind,
    StatusCode,
    ServiceVersion,
    Environment,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors,
    sum(cell.DurationSum) AS DurationSum,
    sumMap(cell.DurationBuckets) AS DurationBuckets,
    argMaxMergeState(cell.SlowestTrace) AS SlowestTrace,
    min(cell.Time) AS FirstSeen,
    max(cell.Time) AS LastSeen
FROM {database}.spans_1m AS cell
GROUP BY Time, TenantId, ServiceName, SpanName, SpanKind, StatusCode, ServiceVersion, Environment
