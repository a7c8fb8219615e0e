SELECT Time AS time, toString(mapSort(Attributes)) AS series, sum(Average) AS average
FROM gauge_1m(service = ${service:singlequote}, metric = ${metric:singlequote}, from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, series
ORDER BY time, series
