SELECT Time AS time, Attributes['reason'] AS reason, sum(Rate) AS refused
FROM counter_1m(service = 'sluiceway', metric = 'sluiceway_ingest_requests_refused_total', from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, reason
ORDER BY time, reason
