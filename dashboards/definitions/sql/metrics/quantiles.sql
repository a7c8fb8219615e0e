SELECT Time AS time, quantile, max(Quantile) AS value
FROM
(
    SELECT Time, Quantile, 'p50' AS quantile
    FROM histogram_quantile_1m(service = ${service:singlequote}, metric = ${metric:singlequote}, from = toStartOfMinute($__fromTime),
        to = $__toTime, step = greatest(intDiv($__interval_s, 60) * 60, 60), q = 0.5, by = [])
    UNION ALL
    SELECT Time, Quantile, 'p95'
    FROM histogram_quantile_1m(service = ${service:singlequote}, metric = ${metric:singlequote}, from = toStartOfMinute($__fromTime),
        to = $__toTime, step = greatest(intDiv($__interval_s, 60) * 60, 60), q = 0.95, by = [])
)
GROUP BY time, quantile
ORDER BY time, quantile
