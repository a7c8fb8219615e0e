SELECT Timestamp AS timestamp, Body AS body, lower(SeverityText) AS level, TraceId AS traceID, LogAttributes
FROM otel_logs
WHERE ServiceName = ${service:singlequote} AND Timestamp >= toDateTime64($__fromTime, 9) AND Timestamp <= toDateTime64($__toTime, 9)
    AND SeverityNumber >= 13
ORDER BY Timestamp DESC
LIMIT 200
