SELECT Attributes['reason'] AS reason, sum(Increase) / 300 AS value
FROM counter_1m(service = 'sluiceway', metric = 'sluiceway_ingest_requests_refused_total', from = toStartOfMinute($__fromTime), to = $__toTime, step = 60)
WHERE Time >= $__toTime - 300
GROUP BY reason
