CREATE VIEW IF NOT EXISTS {database}.histogram_{tier} AS
WITH
    -- include: window_of.sql
SELECT
    window_of(Cell) AS Time,
    TenantId,
    SeriesId,
    any(Resource) AS ResourceAttributes,
    any(Own) AS Attributes,
    any(UnitOf) AS Unit,
    any(Edges) AS Bounds,
    sumForEach(arrayMap((gained, further) -> gained + further, Gained.3, Further.3)) AS Buckets,
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
        Temporality = 'delta' AS Delta,
        -- include: histogram_runs.sql,
        -- Up to the cell's first point: what a run counted before it was counted since the run began.
        multiIf(
            Delta, (toInt64(DeltaCount), DeltaSum, arrayMap(bucket -> toInt64(bucket), DeltaBuckets)),
            BeganAnew OR (NOT Follows AND StartTime >= toDateTime64(SinceWhen, 9)),
                (toInt64(Earliest.2), Earliest.3, arrayMap(bucket -> toInt64(bucket), Earliest.4)),
            NOT Follows, (toInt64(0), toFloat64(0), arrayMap(bucket -> toInt64(0), Earliest.4)),
            (toInt64(Earliest.2) - toInt64(Before.2), Earliest.3 - Before.3,
                arrayMap((now, before) -> toInt64(now) - toInt64(before), Earliest.4, arrayResize(Before.4, length(Earliest.4))))
        ) AS Gained,
        -- From the first point to the last.
        multiIf(
            Delta, (toInt64(0), toFloat64(0), arrayMap(bucket -> toInt64(0), DeltaBuckets)),
            FellInside, (toInt64(Latest.2), Latest.3, arrayMap(bucket -> toInt64(bucket), Latest.4)),
            (toInt64(Latest.2) - toInt64(Earliest.2), Latest.3 - Earliest.3,
                arrayMap((now, before) -> toInt64(now) - toInt64(before), Latest.4, Earliest.4))
        ) AS Further
    FROM
    (
        SELECT
            -- include: series_cells.sql,
            any(cell.Bounds) AS Edges,
            min(cell.First) AS Earliest,
            max(cell.Last) AS Latest,
            sum(cell.DeltaCount) AS DeltaCount,
            sum(cell.DeltaSum) AS DeltaSum,
            sumForEachMerge(cell.DeltaBuckets) AS DeltaBuckets
        FROM {database}.histograms_{tier} AS cell
        WHERE cell.ServiceName = {{service:String}} AND cell.MetricName = {{metric:String}}
            AND cell.Time >= {{from:DateTime}} - {lookback_s} AND cell.Time < {{to:DateTime}}
        GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality
    )
    WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE Cell >= {{from:DateTime}}
GROUP BY Time, TenantId, SeriesId
