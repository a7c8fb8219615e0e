SELECT Time AS time, Attributes['component'] AS component, sum(Rate) AS cpu
FROM counter_1m(service = 'sluiceway', metric = 'sluiceway_runtime_cpu_seconds_total', from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, component
ORDER BY time, component
