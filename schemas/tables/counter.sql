CREATE VIEW IF NOT EXISTS {database}.counter_{tier} AS
WITH
    -- include: window_of.sql,
    -- include: unpacked.sql
SELECT
    Time,
    TenantId,
    SeriesId,
    ResourceAttributes,
    Attributes,
    Unit,
    Increase,
    Increase / {{step:UInt32}} AS Rate,
    Resets,
    Points,
    PrometheusIncrease,
    PrometheusIncrease / {{step:UInt32}} AS PrometheusRate,
    ExemplarTraceId
FROM
(
    SELECT
        window_of(Cell) AS Time,
        TenantId,
        SeriesId,
        any(Resource) AS ResourceAttributes,
        any(Own) AS Attributes,
        any(UnitOf) AS Unit,
        sum(Added) AS Increase,
        sum(Fell) AS Resets,
        sum(Seen) AS Points,
        -- Prometheus' extrapolation (promql/functions.go, extrapolatedRate): from the first and the last sample of the window
        -- to its edges, but not below zero and not over a gap.
        min(Earliest) AS FirstPoint,
        max(Latest) AS LastPoint,
        LastPoint.2 - FirstPoint.2 + sum(if(Before.1 >= toDateTime64(Time, 9), Lost, 0) + LostInside) AS Between,
        (toUnixTimestamp64Nano(LastPoint.1) - toUnixTimestamp64Nano(FirstPoint.1)) / 1e9 AS Sampled_s,
        Sampled_s / (Points - 1) AS Each_s,
        (toUnixTimestamp64Nano(FirstPoint.1) - toUnixTimestamp(Time) * 1000000000) / 1e9 AS ToStart_s,
        ((toUnixTimestamp(Time) + {{step:UInt32}}) * 1000000000 - toUnixTimestamp64Nano(LastPoint.1)) / 1e9 AS ToEnd_s,
        if(Monotone AND Between > 0 AND FirstPoint.2 >= 0, least(ToStart_s, Sampled_s * FirstPoint.2 / Between), ToStart_s) AS ToZero_s,
        multiIf(any(Delta), Increase, Points < 2 OR Sampled_s <= 0, NULL, Between * (Sampled_s
            + if(ToZero_s < Each_s * 1.1, ToZero_s, Each_s / 2) + if(ToEnd_s < Each_s * 1.1, ToEnd_s, Each_s / 2)) / Sampled_s)
            AS PrometheusIncrease,
        argMaxArrayMerge(Exemplars) AS ExemplarTraceId
    FROM
    (
        SELECT
            *,
            Temporality = 'delta' AS Delta,
            lagInFrame(Latest) OVER series AS Before,
            lagInFrame(StartTime) OVER series AS StartBefore,
            lagInFrame(toUInt8(1)) OVER series AS Follows,
            Follows AND StartTime > StartBefore AND StartTime >= Before.1 AS Restarted,
            Monotone AND Follows AND NOT Restarted AND Earliest.2 < Before.2 AS Dropped,
            Monotone AND Latest.2 < Earliest.2 AS DroppedInside,
            if(Dropped OR (Restarted AND Monotone AND Earliest.2 < Before.2), Before.2, 0) AS Lost,
            if(DroppedInside, Earliest.2, 0) AS LostInside,
            multiIf(
                Delta, Total,
                -- What a run counted before its first point was counted since it began.
                NOT Follows, if(StartTime >= toDateTime64(SinceWhen, 9), Earliest.2, 0),
                Restarted OR Dropped, Earliest.2,
                Earliest.2 - Before.2
            ) + multiIf(Delta, 0, DroppedInside, Latest.2, Latest.2 - Earliest.2) AS Added,
            if(Delta, 0, (Restarted OR Dropped) + DroppedInside) AS Fell
        FROM
        (
            SELECT
                -- include: series_cells.sql,
                cell.Monotonic AS Monotone,
                unpacked(min(cell.First)) AS Earliest,
                unpacked(max(cell.Last)) AS Latest,
                sum(cell.Sum) AS Total
            FROM {database}.numbers_{tier} AS cell
            WHERE cell.ServiceName = {{service:String}} AND cell.MetricName = {{metric:String}} AND cell.Kind = 'sum'
                AND cell.Time >= {{from:DateTime}} - {lookback_s} AND cell.Time < {{to:DateTime}}
            GROUP BY Cell, TenantId, SeriesId, StartTime, Temporality, Monotone
        )
        WINDOW series AS (PARTITION BY TenantId, SeriesId ORDER BY Earliest ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)
    )
    WHERE Cell >= {{from:DateTime}}
    GROUP BY Time, TenantId, SeriesId, Monotone
)
