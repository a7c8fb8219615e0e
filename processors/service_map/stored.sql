SELECT toUnixTimestamp(toStartOfMinute(toDateTime(Timestamp))) AS Minute, count()
FROM otel_traces
WHERE Timestamp >= toDateTime64({from_s:UInt32}, 9) AND Timestamp < toDateTime64({to_s:UInt32}, 9)
GROUP BY Minute
