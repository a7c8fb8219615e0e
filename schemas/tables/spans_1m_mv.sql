CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.spans_1m_mv TO {database}.spans_1m AS
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Time,
    TenantId,
    ServiceName,
    SpanName,
    SpanKind,
    StatusCode,
    ServiceVersion,
    Environment,
    count() AS Calls,
    countIf(StatusCode = 'Error') AS Errors,
    sum(Duration) AS DurationSum,
    sumMap(map(toUInt16(floor(log2(greatest(Duration, 1)) * 8)), toUInt64(1))) AS DurationBuckets,
    argMaxState(TraceId, if(TraceId = '', 0, Duration)) AS SlowestTrace
FROM {database}.otel_traces
GROUP BY Time, TenantId, ServiceName, SpanName, SpanKind, StatusCode, ServiceVersion, Environment
