SELECT Time AS time, ServiceName AS service, sum(Series) AS series
FROM cardinality(from = $__fromTime, to = $__toTime)
GROUP BY time, service
ORDER BY time, service
