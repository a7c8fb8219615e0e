SELECT Time AS time, Attributes['signal'] AS signal, sum(Rate) AS accepted
FROM counter_1m(service = 'sluiceway', metric = 'sluiceway_ingest_items_accepted_total', from = toStartOfMinute($__fromTime), to = $__toTime,
    step = greatest(intDiv($__interval_s, 60) * 60, 60))
GROUP BY time, signal
ORDER BY time, signal
