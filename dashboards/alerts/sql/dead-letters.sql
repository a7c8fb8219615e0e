SELECT Attributes['signal'] AS signal, toFloat64(argMax(Latest, Time)) AS value
FROM gauge_1m(service = 'sluiceway', metric = 'sluiceway_log_dead_letters', from = toStartOfMinute($__fromTime), to = $__toTime, step = 60)
WHERE Time >= $__toTime - 300
GROUP BY signal
