CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.numbers_1m_{kind}_mv TO {database}.numbers_1m AS
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
    any(point.ResourceAttributes) AS ResourceAttributes,
    any(point.Attributes) AS Attributes,
    min((point.TimeUnix, point.Value)) AS First,
    max((point.TimeUnix, point.Value)) AS Last,
    count() AS Points,
    sum(point.Value) AS Sum,
    min(point.Value) AS Min,
    max(point.Value) AS Max,
    argMaxArrayState(point.Exemplars.TraceId, point.Exemplars.Value) AS Exemplar
FROM {database}.otel_metrics_{kind} AS point
-- Flag 1: no recorded value, as when a series ended.
WHERE NOT bitTest(point.Flags, 0) AND NOT isNaN(point.Value)
GROUP BY Time, TenantId, ServiceName, MetricName, SeriesId, StartTime, Kind, Unit, Temporality, Monotonic
