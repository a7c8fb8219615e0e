CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.logs_1m_mv TO {database}.logs_1m AS
SELECT
    toStartOfMinute(toDateTime(Timestamp)) AS Time,
    TenantId,
    ServiceName,
    SeverityText,
    SeverityNumber,
    count() AS Records
FROM {database}.otel_logs
GROUP BY Time, TenantId, ServiceName, SeverityText, SeverityNumber
