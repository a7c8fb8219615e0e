SELECT Time AS time, concat(ServiceName, ' ', MetricName) AS metric, sum(Folded) AS folded
FROM cardinality(from = $__fromTime, to = $__toTime)
GROUP BY time, metric
ORDER BY time, metric
