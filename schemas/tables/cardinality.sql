CREATE VIEW IF NOT EXISTS {database}.cardinality AS
SELECT
    Time,
    TenantId,
    ServiceName,
    MetricName,
    sum(SeriesCount) AS Series,
    sum(FoldedPoints) AS Folded,
    max(SpentBudget) AS Budget,
    max(SpentLevel) AS Level
FROM
(
    SELECT Window AS Time, TenantId, ServiceName, MetricName, uniqExact(Series) AS SeriesCount, 0 AS FoldedPoints,
        0 AS SpentBudget, '' AS SpentLevel
    FROM {database}.series_admitted
    WHERE Window >= toStartOfHour({{from:DateTime}}, 'UTC') AND Window < {{to:DateTime}}
    GROUP BY Time, TenantId, ServiceName, MetricName
    UNION ALL
    SELECT Window, TenantId, ServiceName, MetricName, 0, sum(Folded), max(Budget), toString(anyLast(Level))
    FROM {database}.series_overflows
    WHERE Window >= toStartOfHour({{from:DateTime}}, 'UTC') AND Window < {{to:DateTime}}
    GROUP BY Window, TenantId, ServiceName, MetricName
)
GROUP BY Time, TenantId, ServiceName, MetricName
