SELECT Attributes['signal'] AS signal, max(Highest) AS value
FROM gauge_1m(service = 'sluiceway', metric = 'sluiceway_log_lag_seconds', from = toStartOfMinute($__fromTime), to = $__toTime, step = 60)
WHERE Time >= $__toTime - 120
GROUP BY signal
