SELECT Time AS time, Attributes['signal'] AS signal, sum(Latest) AS dead_letters
FROM gauge_1m(service = 'sluiceway', metric = 'sluiceway_log_dead_letters', from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, signal
ORDER BY time, signal
