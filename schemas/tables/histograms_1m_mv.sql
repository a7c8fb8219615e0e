CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.histograms_1m_mv TO {database}.histograms_1m AS
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    point.MetricName AS MetricName,
    -- Buckets can only be added where bounds are equal, and so are their numbers.
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Unit, Temporality, point.ExplicitBounds,
        length(point.BucketCounts)) AS SeriesId,
    if(Temporality = 'cumulative', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    point.MetricUnit AS Unit,
    {temporality} AS Temporality,
    any(point.ResourceAttributes) AS ResourceAttributes,
    any(point.Attributes) AS Attributes,
    any(point.ExplicitBounds) AS Bounds,
    min((point.TimeUnix, point.Count, point.Sum, point.BucketCounts)) AS First,
    max((point.TimeUnix, point.Count, point.Sum, point.BucketCounts)) AS Last,
    count() AS Points,
    -- Sums of cumulative points mean nothing.
    sumIf(point.Count, Temporality != 'cumulative') AS DeltaCount,
    sumIf(point.Sum, Temporality != 'cumulative') AS DeltaSum,
    sumForEachState(if(Temporality = 'cumulative', [], point.BucketCounts)) AS DeltaBuckets,
    argMaxArrayState(point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM {database}.otel_metrics_histogram AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0)
GROUP BY Time, TenantId, ServiceName, MetricName, SeriesId, StartTime, Unit, Temporality
