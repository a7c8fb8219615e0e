CREATE VIEW IF NOT EXISTS {database}.exponential_histogram_{tier} AS
WITH
    -- include: window_of.sql,
    -- include: numbered.sql,
    -- include: coarser.sql
SELECT
    window_of(Cell) AS Time,
    TenantId,
    SeriesId,
    any(Resource) AS ResourceAttributes,
    any(Own) AS Attributes,
    any(UnitOf) AS Unit,
    any(Coarsest) AS Scale,
    max(Nothing) AS ZeroThreshold,
    -- Positive buckets are 2^40 + index, negative ones the negative of that, the zero bucket is 0: in the order of values.
    mapFilter((bucket, counted) -> counted != 0, sumMap(mapAdd(Gained.3, Further.3))) AS Buckets,
    Buckets[0] AS ZeroCount,
    mapApply((bucket, counted) -> (bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket > 0, Buckets)) AS Positive,
    mapApply((bucket, counted) -> (-bucket - 1099511627776, counted), mapFilter((bucket, counted) -> bucket < 0, Buckets)) AS Negative,
    sum(Gained.1 + Further.1) AS Count,
    sum(Gained.2 + Further.2) AS Sum,
    Count / {{step:UInt32}} AS Rate,
    sum(Fell) AS Resets,
    sum(Seen) AS Points,
    argMaxArrayMerge(Exemplars) AS ExemplarTraceId
FROM
(
    SELECT
        *,
        -- include: histogram_runs.sql,
        lagInFrame(LatestBuckets) OVER series AS BucketsBefore,
        mapFilter((bucket, counted) -> false, EarliestBuckets) AS None,
        -- Up to the cell's first point: what a run counted before it was counted since the run began.
        multiIf(
            Delta, (toInt64(DeltaCount), DeltaSum, DeltaBuckets),
            BeganAnew OR (NOT Follows AND StartTime >= toDateTime64(SinceWhen, 9)),
                (toInt64(Earliest.2), Earliest.3, EarliestBuckets),
            NOT Follows, (toInt64(0), toFloat64(0), None),
            (toInt64(Earliest.2) - toInt64(Before.2), Earliest.3 - Before.3, mapSubtract(EarliestBuckets, BucketsBefore))
        ) AS Gained,
        -- From the first point to the last.
        multiIf(
            Delta, (toInt64(0), toFloat64(0), None),
            FellInside, (toInt64(Latest.2), Latest.3, LatestBuckets),
            (toInt64(Latest.2) - toInt64(Earliest.2), Latest.3 - Earliest.3, mapSubtract(LatestBuckets, EarliestBuckets))
        ) AS Further
    FROM
    (
        -- To the coarsest scale of the series.
        WITH (buckets, counts, scale) -> CAST(
            arrayReduce('sumMap', [coarser(buckets, scale, Coarsest)], [arrayMap(counted -> toInt64(counted), counts)]),
            'Map(Int64, Int64)') AS merged,
            point -> merged(
                numbered(point.6, point.7, point.8, point.9), arrayConcat(point.9, [point.5], point.7), point.4) AS whole
        SELECT
            *,
            whole(Earliest) AS EarliestBuckets,
            whole(Latest) AS LatestBuckets,
            merged(mapKeys(Summed), mapValues(Summed), Scale) AS DeltaBuckets
        FROM
        (
            SELECT
                *,
                Temporality = 'delta' AS Delta,
                min(if(Delta, Scale, least(Earliest.4, Latest.4))) OVER (PARTITION BY TenantId, SeriesId) AS Coarsest
            FROM
            (
                SELECT
                    -- include: series_cells.sql,
                    cell.Scale AS Scale,
                    max(cell.ZeroThreshold) AS Nothing,
                    min(cell.First) AS Earliest,
                    max(cell.Last) AS Latest,
                    sum(cell.DeltaCount) AS DeltaCount,
                    sum(cell.DeltaSum) AS DeltaSum,
                    sumMap(cell.DeltaBuckets) AS Summed
                FROM {database}.exponential_histograms_{tier} AS cell
                WHERE cell.ServiceName = {{service:String}} AND cell.MetricName = {{metric:String}}
                    AND cell.Time >= {{from:DateTime}} - {lookback_s} AND cell.Time < {{to:DateTime}}
                GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality, Scale
            )
        )
    )
    WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE Cell >= {{from:DateTime}}
GROUP BY Time, TenantId, SeriesId
