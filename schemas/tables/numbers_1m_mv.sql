CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.numbers_1m_{kind}_mv TO {database}.numbers_1m AS
WITH
    -- include: packed.sql
SELECT
    toStartOfMinute(toDateTime(point.TimeUnix)) AS Time,
    point.TenantId AS TenantId,
    point.ServiceName AS ServiceName,
    point.MetricName AS MetricName,
    cityHash64(point.ResourceAttributes, point.ScopeName, point.Attributes, Kind, Unit, Temporality, Monotonic) AS SeriesId,
    -- Runs of a cumulative series are told apart by it; delta points begin anew each time and would each be a row.
    if(Temporality = 'cumulative', point.StartTimeUnix, toDateTime64(0, 9)) AS StartTime,
    '{kind}' AS Kind,
    point.MetricUnit AS Unit,
    {temporality} AS Temporality,
    {monotonic} AS Monotonic,
    -- Maps as JSON text: merging them row by row was three quarters of what a rollup cost (measured). Views read them back.
    toJSONString(point.ResourceAttributes) AS ResourceAttributes,
    toJSONString(point.Attributes) AS Attributes,
    packed(point.TimeUnix, point.Value) AS First,
    First AS Last,
    1 AS Points,
    point.Value AS Sum,
    point.Value AS Min,
    point.Value AS Max,
    initializeAggregation('argMaxArrayState', point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM {database}.otel_metrics_{kind} AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0) AND NOT isNaN(point.Value)
-- Folded from many series by a budget: their values follow no one series, and rates of them would be nonsense.
    AND NOT (Temporality = 'cumulative' AND mapContains(point.Attributes, 'sluiceway.budget'))
