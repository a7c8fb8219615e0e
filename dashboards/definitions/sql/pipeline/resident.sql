SELECT Time AS time, Attributes['component'] AS component, sum(Latest) AS resident
FROM gauge_1m(service = 'sluiceway', metric = 'sluiceway_runtime_resident_bytes', from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, component
ORDER BY time, component
