SELECT DISTINCT ServiceName FROM spans_1h WHERE Time >= toStartOfHour($__fromTime) AND Time <= $__toTime ORDER BY ServiceName
