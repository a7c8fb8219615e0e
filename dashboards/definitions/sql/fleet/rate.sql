SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time, ServiceName AS service,
    sum(Calls) / greatest($__interval_s, 60) AS calls
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
GROUP BY time, service
ORDER BY time, service
