CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.exponential_histograms_1m_mv TO {database}.exponential_histograms_1m AS
WITH
    -- One number a bucket, in the order of its values: positive buckets are 2^40 + index, negative ones the negative of that,
    -- the zero bucket is 0. Indexes have 32 bits.
    arrayFilter((bucket, counted) -> counted > 0, arrayConcat(
        arrayMap(i -> -(1099511627776 + toInt64(point.NegativeOffset) + toInt64(i)), range(length(point.NegativeBucketCounts))),
        [toInt64(0)],
        arrayMap(i -> 1099511627776 + toInt64(point.PositiveOffset) + toInt64(i), range(length(point.PositiveBucketCounts)))
    ), counts) AS buckets,
    arrayConcat(point.NegativeBucketCounts, [point.ZeroCount], point.PositiveBucketCounts) AS counts,
    arrayFilter(counted -> counted > 0, counts) AS held,
    (point.TimeUnix, point.Count, point.Sum, point.Scale, buckets, held) AS whole
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
    if(Temporality = 'cumulative', 0, point.Scale) AS Scale,
    any(point.ResourceAttributes) AS ResourceAttributes,
    any(point.Attributes) AS Attributes,
    max(point.ZeroThreshold) AS ZeroThreshold,
    min(whole) AS First,
    max(whole) AS Last,
    count() AS Points,
    sumIf(point.Count, Temporality != 'cumulative') AS DeltaCount,
    sumIf(point.Sum, Temporality != 'cumulative') AS DeltaSum,
    sumMap(if(Temporality = 'cumulative', mapFromArrays([]::Array(Int64), []::Array(UInt64)), mapFromArrays(buckets, held)))
        AS DeltaBuckets,
    argMaxArrayState(point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM {database}.otel_metrics_exponential_histogram AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0)
GROUP BY Time, TenantId, ServiceName, MetricName, SeriesId, StartTime, Unit, Temporality, Scale
