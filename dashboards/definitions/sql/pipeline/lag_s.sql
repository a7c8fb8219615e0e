SELECT Time AS time, Attributes['signal'] AS signal, sum(Highest) AS lag_s
FROM gauge_1m(service = 'sluiceway', metric = 'sluiceway_log_lag_seconds', from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, signal
ORDER BY time, signal
