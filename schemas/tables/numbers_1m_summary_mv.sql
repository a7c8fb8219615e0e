CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.numbers_1m_summary_mv TO {database}.numbers_1m AS
WITH
    -- include: packed.sql,
    -- As Prometheus exposes a summary: two counters, and a gauge for each quantile.
    arrayConcat(
        [('_count', toFloat64(point.Count), '', '1'), ('_sum', point.Sum, '', point.MetricUnit)],
        arrayMap((quantile, value) -> ('', value, toString(quantile), point.MetricUnit),
            point.ValueAtQuantiles.Quantile, point.ValueAtQuantiles.Value)
    ) AS parts,
    arrayJoin(parts) AS part
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    concat(point.MetricName, part.1) AS MetricName,
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Kind, Unit, Temporality, Monotonic, part.3) AS SeriesId,
    if(part.3 = '', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    if(part.3 = '', 'sum', 'gauge') AS Kind,
    part.4 AS Unit,
    -- The protocol's only legacy kind: its counts are cumulative by definition.
    if(part.3 = '', 'cumulative', '') AS Temporality,
    part.3 = '' AS Monotonic,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(if(part.3 = '', point.Attributes, mapUpdate(point.Attributes, map('quantile', part.3)))) AS Attributes,
    packed(point.TimeUnix, part.2) AS First,
    First AS Last,
    1 AS Points,
    part.2 AS Sum,
    part.2 AS Min,
    part.2 AS Max,
    initializeAggregation('argMaxArrayState', []::Array(String), []::Array(Float64)) AS Exemplar
FROM {database}.otel_metrics_summary AS point
-- Flag 1: no recorded value, as when a series ended. A quantile of nothing is NaN.
WHERE NOT bitTest(point.Flags, 0) AND NOT isNaN(part.2)
-- Folded from many series by a budget: their counts follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'))
