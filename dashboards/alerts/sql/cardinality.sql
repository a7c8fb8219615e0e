SELECT toString(ServiceName) AS service, toString(MetricName) AS metric, toFloat64(sum(Folded)) AS value
FROM cardinality(from = $__fromTime, to = $__toTime)
GROUP BY service, metric
