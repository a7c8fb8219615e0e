CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.{of}_{tier}_mv TO {database}.{of}_{tier} AS
SELECT
    {start_of} AS Time,
    TenantId,
    ServiceName,{operation_group}
    SpanKind,
    StatusCode,
    ServiceVersion,
    Environment,
    sum(cell.Calls) AS Calls,
    sum(cell.Errors) AS Errors,
    sum(cell.DurationSum) AS DurationSum,
    sumMap(cell.DurationBuckets) AS DurationBuckets,
    argMaxMergeState(cell.SlowestTrace) AS SlowestTrace{seen_from}
FROM {database}.{minutes}_1m AS cell
GROUP BY Time, TenantId, ServiceName, {operation_key}SpanKind, StatusCode, ServiceVersion, Environment
