CREATE VIEW IF NOT EXISTS {database}.exponential_histogram_gains_{tier} AS
-- What each series gained in each of its cells, at the coarsest scale that it had.
WITH
    -- include: numbered.sql,
    -- include: coarser.sql
SELECT
    Cell,
    TenantId,
    SeriesId,
    Resource,
    Own,
    UnitOf,
    Coarsest,
    Nothing,
    Gained.1 + Further.1 AS Counted,
    Gained.2 + Further.2 AS Added,
    mapAdd(Gained.3, Further.3) AS Buckets,
    Fell,
    Seen,
    Exemplars
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
