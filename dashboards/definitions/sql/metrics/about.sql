SELECT MetricName AS Metric, Kind, Unit, Temporality, max(Description) AS About, sum(Points) AS DataPoints,
    uniqCombinedMerge(12)(Series) AS SeriesOfADay
FROM metrics_1d
WHERE ServiceName = ${service:singlequote} AND Time >= toStartOfDay($__fromTime, 'UTC') AND Time <= $__toTime
GROUP BY Metric, Kind, Unit, Temporality
ORDER BY Metric
LIMIT 500
