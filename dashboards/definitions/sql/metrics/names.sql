SELECT DISTINCT MetricName, concat(MetricName, ' (', Kind, ')') FROM metrics_1d
WHERE ServiceName = ${service:singlequote} AND Time >= toStartOfDay($__fromTime, 'UTC') AND Time <= $__toTime
ORDER BY MetricName
