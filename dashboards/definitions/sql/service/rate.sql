SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time, ServiceVersion AS version,
    sum(Calls) / greatest($__interval_s, 60) AS calls
FROM service_red_1m(from = toStartOfMinute($__fromTime), to = $__toTime)
WHERE ServiceName = ${service:singlequote} AND $__conditionalAll(Environment IN (${environment:singlequote}), $environment)
GROUP BY time, version
ORDER BY time, version
