CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.exponential_histograms_1m_mv TO {database}.exponential_histograms_1m AS
WITH
    -- include: numbered.sql,
    Temporality = 'delta' AS delta,
    -- A batch may be all buckets: each copy of them counts against the store's memory, so that only what is needed is made.
    arrayResize(point.PositiveBucketCounts, if(delta, length(point.PositiveBucketCounts), 0)) AS above,
    arrayResize(point.NegativeBucketCounts, if(delta, length(point.NegativeBucketCounts), 0)) AS below,
    (
        point.TimeUnix, point.Count, point.Sum, point.Scale, point.ZeroCount,
        point.PositiveOffset, arrayResize(point.PositiveBucketCounts, if(delta, 0, length(point.PositiveBucketCounts))),
        point.NegativeOffset, arrayResize(point.NegativeBucketCounts, if(delta, 0, length(point.NegativeBucketCounts)))
    ) AS whole
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    point.MetricName AS MetricName,
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Unit, Temporality) AS SeriesId,
    if(Temporality = 'cumulative', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    point.MetricUnit AS Unit,
    {temporality} AS Temporality,
    -- Only buckets of one scale can be added before all are known; a cumulative run changes its scale as it goes.
    if(delta, point.Scale, 0) AS Scale,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(point.Attributes) AS Attributes,
    point.ZeroThreshold AS ZeroThreshold,
    whole AS First,
    whole AS Last,
    1 AS Points,
    if(delta, point.Count, 0) AS DeltaCount,
    if(delta, point.Sum, 0) AS DeltaSum,
    mapFromArrays(
        numbered(point.PositiveOffset, above, point.NegativeOffset, below),
        arrayConcat(below, [if(delta, point.ZeroCount, 0)], above)
    ) AS DeltaBuckets,
    initializeAggregation('argMaxArrayState', point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM {database}.otel_metrics_exponential_histogram AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0)
-- Folded from many series by a budget: their values follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'))
