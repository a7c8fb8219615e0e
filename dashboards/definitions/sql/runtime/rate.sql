-- A counter a second, over all instances, a line for what it is of.
SELECT Time AS time, arrayStringConcat(arraySort(mapValues(Attributes)), ' ') AS series, sum(Rate) AS rate
FROM counter_1m(service = ${service:singlequote}, metric = {metrics}, from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, series
ORDER BY time, series
