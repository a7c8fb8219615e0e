CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.metrics_1d_{kind}_mv TO {database}.metrics_1d AS
SELECT
    toStartOfDay(toDateTime(TimeUnix, 'UTC')) AS Time,
    TenantId,
    ServiceName,
    MetricName,
    '{kind}' AS Kind,
    MetricUnit AS Unit,
    {temporality} AS Temporality,
    {monotonic} AS Monotonic,
    ServiceVersion,
    Environment,
    anyLast(MetricDescription) AS Description,
    min(toDateTime(TimeUnix)) AS FirstSeen,
    max(toDateTime(TimeUnix)) AS LastSeen,
    count() AS Points,
    uniqCombinedState(12)(cityHash64(ResourceAttributes, ScopeName, Attributes)) AS Series
FROM {database}.otel_metrics_{kind}
GROUP BY Time, TenantId, ServiceName, MetricName, Kind, Unit, Temporality, Monotonic, ServiceVersion, Environment
