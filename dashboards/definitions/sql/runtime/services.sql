SELECT DISTINCT ServiceName FROM metrics_1d
WHERE match(MetricName, '^(process|system|container|jvm|go|nodejs|v8js|dotnet|cpython)\\.')
    AND Time >= toStartOfDay($__fromTime, 'UTC') AND Time <= $__toTime
ORDER BY ServiceName
