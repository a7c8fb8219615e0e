SELECT DISTINCT Environment FROM spans_1h
WHERE ServiceName = ${service:singlequote} AND Time >= toStartOfHour($__fromTime) AND Time <= $__toTime AND Environment != ''
ORDER BY Environment
