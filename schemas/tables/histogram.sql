CREATE VIEW IF NOT EXISTS {database}.histogram_{tier} AS
SELECT
    {{from:DateTime}} + intDiv(toUnixTimestamp(Cell) - toUnixTimestamp({{from:DateTime}}), {{step:UInt32}}) * {{step:UInt32}}
        AS Time,
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
        lagInFrame(Latest) OVER series AS Before,
        lagInFrame(StartTime) OVER series AS StartBefore,
        lagInFrame(toUInt8(1)) OVER series AS Follows,
        -- A histogram never counts down: one whose count falls began anew, whole, whatever its buckets say apart.
        NOT Delta AND Follows AND (StartTime > StartBefore AND StartTime >= Before.1 OR Earliest.2 < Before.2) AS BeganAnew,
        NOT Delta AND Latest.2 < Earliest.2 AS FellInside,
        toUInt8(BeganAnew) + toUInt8(FellInside) AS Fell,
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
            cell.Time AS Cell,
            cell.TenantId AS TenantId,
            cell.SeriesId AS SeriesId,
            cell.StartTime AS StartTime,
            cell.Temporality AS Temporality,
            any(cell.Unit) AS UnitOf,
            JSONExtract(any(cell.ResourceAttributes), 'Map(String, String)') AS Resource,
            JSONExtract(any(cell.Attributes), 'Map(String, String)') AS Own,
            any(cell.Bounds) AS Edges,
            min(cell.First) AS Earliest,
            max(cell.Last) AS Latest,
            sum(cell.Points) AS Seen,
            sum(cell.DeltaCount) AS DeltaCount,
            sum(cell.DeltaSum) AS DeltaSum,
            sumForEachMerge(cell.DeltaBuckets) AS DeltaBuckets,
            argMaxArrayMergeState(cell.Exemplar) AS Exemplars,
            {{from:DateTime}} - {lookback_s} AS SinceWhen
        FROM {database}.histograms_{tier} AS cell
        WHERE cell.ServiceName = {{service:String}} AND cell.MetricName = {{metric:String}}
            AND cell.Time >= {{from:DateTime}} - {lookback_s} AND cell.Time < {{to:DateTime}}
        GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality
    )
    WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest.1 ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
)
WHERE Cell >= {{from:DateTime}}
GROUP BY Time, TenantId, SeriesId
