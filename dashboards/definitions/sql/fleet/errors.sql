SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time, ServiceName AS service,
    sum(Errors) / greatest(sum(Calls), 1) AS errors
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
GROUP BY time, service
ORDER BY time, service
