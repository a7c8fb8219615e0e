-- Levels, averaged over instances and points, a line a metric and what it is of.
SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time,
    concat(toString(MetricName), if(Attributes IN ('', '{}'), '', concat(' ', arrayStringConcat(arraySort(
        arrayMap(pair -> pair.2, JSONExtractKeysAndValues(Attributes, 'String'))), ' ')))) AS series,
    sum(Sum) / sum(Points) AS value
FROM numbers_1m
WHERE ServiceName = ${service:singlequote} AND MetricName IN ({metrics}) AND $__timeFilter(Time)
GROUP BY time, series
ORDER BY time, series
