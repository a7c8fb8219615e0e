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
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(point.Attributes) AS Attributes,
    point.ExplicitBounds AS Bounds,
    (point.TimeUnix, point.Count, point.Sum, point.BucketCounts) AS First,
    First AS Last,
    1 AS Points,
    -- Sums of cumulative points mean nothing.
    if(Temporality = 'cumulative', 0, point.Count) AS DeltaCount,
    if(Temporality = 'cumulative', 0, point.Sum) AS DeltaSum,
    initializeAggregation('sumForEachState', if(Temporality = 'cumulative', [], point.BucketCounts)) AS DeltaBuckets,
    initializeAggregation('argMaxArrayState', point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM {database}.otel_metrics_histogram AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0)
-- Folded from many series by a budget: their values follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'))
