SELECT TenantId AS Tenant, ServiceName AS Service, MetricName AS Metric, max(Series) AS SeriesOfAnHour, sum(Folded) AS FoldedPoints,
    max(Budget) AS SpentBudget, max(Level) AS BudgetOf
FROM cardinality(from = $__fromTime, to = $__toTime)
GROUP BY Tenant, Service, Metric
ORDER BY FoldedPoints DESC, SeriesOfAnHour DESC
LIMIT 200
