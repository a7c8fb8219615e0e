SELECT toStartOfInterval(Time, toIntervalSecond(greatest($__interval_s, 60))) AS time,
    if(SeverityText = '', 'none', lower(SeverityText)) AS severity, sum(Records) AS records
FROM logs_1m
WHERE $__timeFilter(Time) AND $__conditionalAll(ServiceName IN (${service:singlequote}), $service)
GROUP BY time, severity
ORDER BY time, severity
