SELECT DISTINCT ServiceName FROM metrics_1d WHERE Time >= toStartOfDay($__fromTime, 'UTC') AND Time <= $__toTime ORDER BY ServiceName
