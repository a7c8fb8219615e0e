SELECT Time AS time, max(Quantile) AS p99
FROM histogram_quantile_1m(service = ${service:singlequote}, metric = {metrics}, from = toStartOfMinute($__fromTime),
    to = $__toTime, step = greatest(intDiv($__interval_s, 60) * 60, 60), q = 0.99, by = [])
GROUP BY time
ORDER BY time
