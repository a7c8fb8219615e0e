SELECT DISTINCT ServiceName FROM logs_1m WHERE $__timeFilter(Time) ORDER BY ServiceName
